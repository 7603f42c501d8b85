use super::*;

fn settings(variables: &[(&str, &str)]) -> Result<Settings, HubError> {
    let get = |name: &str| {
        let found = variables.iter().find(|(own, _)| *own == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    Settings::from_variables(&get)
}

fn cache(variables: &[(&str, &str)]) -> PathBuf {
    settings(variables).unwrap().cache
}

fn secret(variables: &[(&str, &str)]) -> Option<String> {
    settings(variables).unwrap().token.map(|token| token.secret().to_owned())
}

#[test]
fn the_cache_is_where_python_has_it() {
    let home = ("HOME", "/h");
    for (variables, expected) in [
        (vec![], "/h/.cache/huggingface/hub"),
        (vec![("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
        (vec![("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/f")], "/f/hub"),
        (vec![("HF_HOME", "~/f")], "/h/f/hub"),
        (vec![("HF_HOME", "/f"), ("HUGGINGFACE_HUB_CACHE", "/old")], "/old"),
        (vec![("HF_HOME", "/f"), ("HF_HUB_CACHE", "/c"), ("HUGGINGFACE_HUB_CACHE", "/old")], "/c"),
        (vec![("HF_HOME", "")], "/h/.cache/huggingface/hub"),
    ] {
        let variables: Vec<_> = variables.into_iter().chain([home]).collect();
        assert_eq!(cache(&variables), Path::new(expected), "{variables:?}");
    }
}

#[test]
fn the_token_comes_from_its_variable_then_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("token"), "hf_home\n").unwrap();
    std::fs::write(path("other"), " hf_other ").unwrap();
    let (home, other, absent) = (path(""), path("other"), path("absent"));
    let in_home = ("HF_HOME", home.as_str());
    assert_eq!(secret(&[in_home]).unwrap(), "hf_home");
    assert_eq!(secret(&[in_home, ("HF_TOKEN_PATH", &other)]).unwrap(), "hf_other");
    // The named file alone counts: another identity must not be sent in its place.
    assert_eq!(secret(&[in_home, ("HF_TOKEN_PATH", &absent)]), None);
    assert_eq!(secret(&[in_home, ("HF_TOKEN", "hf_variable\n")]).unwrap(), "hf_variable");
    let disabled = ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1");
    assert_eq!(secret(&[in_home, ("HF_TOKEN", "hf_variable"), disabled]), None);
    let enabled = ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "0");
    assert_eq!(secret(&[in_home, enabled]).unwrap(), "hf_home");
}

#[test]
fn no_setting_shows_the_token() {
    let settings = settings(&[("HF_TOKEN", "hf_secret")]).unwrap();
    assert!(!format!("{settings:?}").contains("hf_secret"));
    assert_eq!(settings.shown("sent `Bearer hf_secret`\u{1b}[2J"), "sent `Bearer <token>` [2J");
    let error = super::tests::settings(&[("HF_TOKEN", "hf_secret two")]).unwrap_err();
    assert!(!error.to_string().contains("hf_secret"), "{error}");
}

#[test]
fn offline_is_what_python_takes_for_true() {
    let offline = |name, value| settings(&[(name, value)]).unwrap().offline;
    for value in ["1", "true", "YES", "on"] {
        let by = OfflineBy::Variable("HF_HUB_OFFLINE");
        assert_eq!(offline("HF_HUB_OFFLINE", value), Some(by), "{value}");
    }
    for value in ["", "0", "false", "no"] {
        assert_eq!(offline("HF_HUB_OFFLINE", value), None, "{value}");
    }
    assert!(offline("TRANSFORMERS_OFFLINE", "1").is_some());
}

#[test]
fn a_variable_that_makes_no_sense_is_named() {
    for (name, value) in [
        ("HF_ENDPOINT", "huggingface.co"),
        ("HF_ENDPOINT", "ftp://mirror"),
        ("HF_ENDPOINT", "https://me:secret@mirror"),
        ("HF_ENDPOINT", "https://mirror/?a=b"),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "soon"),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "0"),
        ("HF_TOKEN", "two words"),
    ] {
        let error = settings(&[(name, value)]).unwrap_err().to_string();
        assert!(error.contains(name) && !error.contains("secret"), "{error}");
    }
    let mirror = settings(&[("HF_ENDPOINT", "https://mirror.example/hf/")]).unwrap();
    assert_eq!(mirror.endpoint, "https://mirror.example/hf");
}
