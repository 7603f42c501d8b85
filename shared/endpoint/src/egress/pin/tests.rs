//! A12 of the threat table: URLs that would make the teacher ask something inside.

use super::*;

fn rules() -> EgressConfig {
    let hosts = ["api.example.org", "inside.example.org", "10.1.2.3", "localhost:8000"];
    let more = ["127.0.0.1:8000", "[::1]:8000", "169.254.169.254", "metadata.example.org"];
    let allow_hosts = hosts.into_iter().chain(more).map(str::to_owned).collect();
    EgressConfig { allow_hosts, ..EgressConfig::default() }
}

/// Names of the test; literals are what they say.
fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let addresses: &[&str] = match host {
        "api.example.org" => &["104.18.7.192", "2606:4700::6812:7c0"],
        "inside.example.org" => &["104.18.7.192", "10.0.0.7"],
        "metadata.example.org" => &["169.254.169.254"],
        "localhost" => &["127.0.0.1", "::1"],
        literal => &[literal],
    };
    let parse = |text: &&str| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, port));
    addresses.iter().map(parse).collect::<Result<_, _>>().map_err(io::Error::other)
}

#[track_caller]
fn refused(url: &str, rules: &EgressConfig) -> EgressRefusal {
    pin(url, rules, resolve).expect_err(url)
}

#[test]
fn an_allowed_host_is_pinned_with_all_its_addresses() {
    let pinned = pin("https://api.example.org/v1/", &rules(), resolve).unwrap();
    assert_eq!((pinned.base.as_str(), pinned.port), ("https://api.example.org/v1", 443));
    assert_eq!(pinned.addresses.len(), 2);
    let upper = pin("HTTPS://API.example.org/v1", &rules(), resolve).unwrap();
    assert_eq!(upper.host, "api.example.org");
}

#[test]
fn hostile_urls_are_refused_before_a_name_is_resolved() {
    let never = |_: &str, _: u16| panic!("resolved");
    let open = EgressConfig { allow_loopback: true, allow_private: true, ..rules() };
    for url in [
        "",
        "api.example.org/v1",
        "ftp://api.example.org/",
        "file:///etc/passwd",
        "gopher://api.example.org:70/_",
        "unix:/run/docker.sock",
        "javascript:alert(1)",
        "https:///v1",
        "https://user:secret@api.example.org/",
        "https://api.example.org@evil.example/",
        "https://evil.example/#@api.example.org",
        "https://evil.example/?https://api.example.org",
        "https://evil.example\\@api.example.org/",
        "https://api.example.org.evil.example/",
        "https://evil-api.example.org/",
        "https://api.example.org./",
        "https://api.example.org:8443/",
        "https://api.example.org:22/",
        "https://\u{430}pi.example.org/",
        "https://api.example.org\n.evil.example/",
        "https://api\u{3002}example.org/",
        "https://evil.example/",
        "https://0/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://017700000001/",
        "https://127.1/",
        "https://127.0.0.1/",
        "https://[::]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:a9fe:a9fe]/",
        "https://[0:0:0:0:0:ffff:a9fe:a9fe]/",
        "https://localhost/",
    ] {
        let error = pin(url, &open, never).expect_err(url);
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(
            matches!(error, EgressRefusal::Url { .. } | EgressRefusal::NotAllowed(_)),
            "{url}: {error:?}"
        );
    }
}

#[test]
fn an_allowed_name_that_leads_inside_is_refused() {
    let kind = |url: &str, rules: &EgressConfig| match refused(url, rules) {
        EgressRefusal::Address { kind, .. } => kind,
        other => panic!("{url}: {other:?}"),
    };
    // One inside address among public ones is enough.
    assert_eq!(kind("https://inside.example.org/", &rules()), AddressKind::Private);
    assert_eq!(kind("https://10.1.2.3/", &rules()), AddressKind::Private);
    assert_eq!(kind("https://localhost:8000/", &rules()), AddressKind::Loopback);
    assert_eq!(kind("http://127.0.0.1:8000/", &rules()), AddressKind::Loopback);
    assert_eq!(kind("http://[::1]:8000/", &rules()), AddressKind::Loopback);
    let open = EgressConfig { allow_loopback: true, allow_private: true, ..rules() };
    // 2852039166 is the same address as one number.
    let by_name = "https://metadata.example.org/";
    for url in [by_name, "https://169.254.169.254/latest/meta-data/", "https://2852039166/"] {
        assert_eq!(kind(url, &open), AddressKind::LinkLocal, "no setting opens {url}");
    }
}

#[test]
fn inside_is_reached_only_where_the_config_says_so() {
    let loopback = EgressConfig { allow_loopback: true, ..rules() };
    for url in ["http://127.0.0.1:8000/v1", "http://[::1]:8000/v1", "http://localhost:8000/v1"] {
        assert!(pin(url, &loopback, resolve).is_ok(), "{url}");
    }
    let private = EgressConfig { allow_private: true, ..rules() };
    assert!(pin("https://10.1.2.3/v1", &private, resolve).is_ok());
    // Without TLS nothing leaves this machine.
    assert!(matches!(refused("http://10.1.2.3/v1", &private), EgressRefusal::Plain(_)));
    assert!(matches!(refused("http://api.example.org/v1", &rules()), EgressRefusal::Plain(_)));
}

#[test]
fn offline_resolves_nothing() {
    let offline = EgressConfig { offline: true, ..rules() };
    let never = |_: &str, _: u16| panic!("resolved");
    let refusal = pin("https://api.example.org/v1", &offline, never).unwrap_err();
    assert_eq!(refusal, EgressRefusal::Offline);
}
