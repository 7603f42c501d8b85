//! Every file in `configs/` is one that the program for which it is written would accept.

#![allow(clippy::unwrap_used)]

use std::path::Path;

#[test]
fn every_config_parses_and_none_is_forgotten() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let mut seen = 0;
    for deployment in std::fs::read_dir(root).unwrap().flatten().filter(|e| e.path().is_dir()) {
        for file in std::fs::read_dir(deployment.path()).unwrap().flatten() {
            match deployment.file_name().to_str() {
                Some("policies") => check_policy(&file.path()),
                Some("prompts") => check_prompt(&file.path()),
                _ if file.path().is_dir() => {
                    let preset = std::fs::read_dir(file.path()).unwrap().flatten();
                    preset.for_each(|file| check(&file.path()));
                }
                _ => check(&file.path()),
            }
            seen += 1;
        }
    }
    assert!(seen >= 5, "only {seen} files");
}

/// A policy loads only if its own tests pass; an input beside them is one that the auditor would make.
fn check_policy(folder: &Path) {
    let shown = folder.display().to_string();
    if folder.extension().is_some_and(|ending| ending == "json") {
        let bytes = std::fs::read(folder).unwrap();
        seal_auditor::policy::PolicyInput::from_json(&bytes).expect(&shown);
        return;
    }
    let bundle = seal_auditor::policy::Bundle::read(folder).unwrap();
    let limit = std::time::Duration::from_secs(60);
    seal_auditor::policy::Policy::new(bundle, limit).expect(&shown);
}

/// A family that is not built in is found by its path, as one's own would be.
fn check_prompt(path: &Path) {
    let shown = path.display().to_string();
    if path.extension().is_some_and(|ending| ending == "json") {
        assert!(seal_teacher::structured_edit_schema().is_object(), "{shown}");
        return;
    }
    let family = seal_teacher::TextFamily::find(&shown, Path::new("/")).expect(&shown);
    let stem = path.file_stem().unwrap().to_str().unwrap();
    assert!(
        seal_teacher::TextFamily::shipped().any(|name| name == stem),
        "{shown} is not built in"
    );
    assert_eq!(family, seal_teacher::TextFamily::find(stem, Path::new("")).unwrap(), "{shown}");
}

fn check(path: &Path) {
    let shown = path.display().to_string();
    match path.file_name().unwrap().to_str().unwrap() {
        "run.toml" => {
            let text = std::fs::read_to_string(path).unwrap();
            let document: toml_edit::DocumentMut = text.parse().unwrap();
            assert!(document["run"]["rounds"].is_integer(), "{shown}");
        }
        "teacher.toml" => drop(seal_teacher::TeacherConfig::load(path).expect(&shown)),
        "student.toml" => drop(seal_student::StudentConfig::load(path).expect(&shown)),
        "auditor.toml" => drop(seal_auditor::config::AuditorConfig::load(path).expect(&shown)),
        "judge.toml" => drop(seal_judge::JudgeConfig::load(path).expect(&shown)),
        "constitution.toml" => drop(seal_judge::Constitution::read(path).expect(&shown)),
        "rules.toml" => drop(seal_auditor::rules::Rules::load(path).expect(&shown)),
        other => panic!("no test knows `{other}` ({shown})"),
    }
}
