//! Three hosts on one machine: three addresses of the loopback range, a folder each, mutual TLS.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rcgen::{
    CertificateParams, CertificateRevocationListParams, ExtendedKeyUsagePurpose, Issuer,
    KeyIdMethod, KeyPair, PKCS_ED25519, SanType,
};
use seal_conductor::client::Client;
use seal_protocol::{Health, Role, path};
use seal_service::endpoint::Endpoint;
use seal_service::tls::{Party, TlsClient, TlsConfig};
use time::OffsetDateTime;

use crate::common::{PATIENCE, Run, seal, stderr};

pub const ROLES: [Role; 3] = [Role::Teacher, Role::Student, Role::Auditor];
pub const TRUST_DOMAIN: &str = "seal.internal";

/// Folders of the hosts and the daemons that run there; killed with it.
pub struct Hosts {
    temporary: tempfile::TempDir,
    at: [(String, u16); 3],
    /// Each daemon in the network namespace of its role.
    namespaces: bool,
    daemons: Vec<(Role, Child)>,
}

fn number(role: Role) -> usize {
    ROLES.iter().position(|other| *other == role).unwrap()
}

impl Hosts {
    /// What `docs/THREE-HOSTS.md` tells to do, on three addresses of one machine.
    pub fn new() -> Self {
        Self::made(false, |role| {
            let host = format!("127.0.0.{}", number(role) + 1);
            // Free a moment ago; nobody else listens on these addresses.
            let socket = TcpListener::bind((host.as_str(), 0)).unwrap();
            (host, socket.local_addr().unwrap().port())
        })
    }

    /// The same in the namespaces that `docs/three-namespaces.sh` has made.
    pub fn in_namespaces() -> Self {
        Self::made(true, |role| (format!("10.77.0.{}", number(role) + 1), 7400))
    }

    fn made(namespaces: bool, at: impl FnMut(Role) -> (String, u16)) -> Self {
        let temporary = tempfile::Builder::new().prefix("seal-").tempdir().unwrap();
        let hosts = Self { temporary, at: ROLES.map(at), namespaces, daemons: Vec::new() };
        let run = Run::small(&["--contexts", "6", "--proposals", "3"]);
        hosts.issue_certificates();
        ROLES.iter().for_each(|role| hosts.lay_out(*role, &run));
        hosts.lay_out_conductor(&run);
        hosts
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.temporary.path().join(relative)
    }

    /// The folder of a role's host.
    pub fn host(&self, role: Role) -> PathBuf {
        self.path(&format!("{role}-host"))
    }

    pub fn conductor(&self) -> PathBuf {
        self.path("conductor-host")
    }

    pub fn at(&self, role: Role) -> (String, u16) {
        self.at[number(role)].clone()
    }

    pub fn endpoint(&self, role: Role) -> Endpoint {
        let (host, port) = self.at(role);
        format!("tls:{host}:{port}").parse().unwrap()
    }

    fn issue_certificates(&self) {
        let folder = self.path("tls");
        let hosts = ROLES.map(|role| format!("{role}={}", self.at(role).0));
        let mut arguments = vec!["tls", "init", folder.to_str().unwrap()];
        hosts.iter().for_each(|host| arguments.extend(["--host", host]));
        let output = seal(&arguments);
        assert!(output.status.success(), "{}", stderr(&output));
    }

    /// A role gets its own data and keys, the trust root, the base model, and nothing of the others.
    fn lay_out(&self, role: Role, run: &Run) {
        let host = self.host(role);
        let mut own = vec![format!("{role}"), "base".into(), "trust".into()];
        if role == Role::Auditor {
            // By these tables and lines it trains adapters again.
            own.extend(["student.toml".into(), "student/replay".into()]);
        }
        own.iter().for_each(|part| copy(&run.path(part), &host.join(part)));
        let keys: &[&str] = match role {
            Role::Auditor => &["auditor", "ledger"],
            Role::Student => &["student", "student-witness"],
            _ => &["teacher", "teacher-witness"],
        };
        for key in keys {
            let file = format!("keys/{key}.pem");
            copy(&run.path(&file), &host.join(&file));
        }
        self.give_certificates(&host, &[&role.to_string()]);
        std::fs::write(host.join(format!("{role}.toml")), self.config(&role.to_string())).unwrap();
    }

    fn lay_out_conductor(&self, run: &Run) {
        let host = self.conductor();
        copy(&run.path("conductor"), &host.join("conductor"));
        std::fs::create_dir_all(host.join("logs")).unwrap();
        self.give_certificates(&host, &["conductor", "operator"]);
        let small = [
            ("rounds = 2", "rounds = 1"),
            ("proposals_per_context = 5", "proposals_per_context = 3"),
        ];
        let config =
            small.iter().fold(self.config("run"), |text, (from, to)| replaced(&text, from, to));
        std::fs::write(host.join("run.toml"), config).unwrap();
    }

    fn give_certificates(&self, host: &Path, names: &[&str]) {
        copy(&self.path("tls/ca.pem"), &host.join("tls/ca.pem"));
        for name in names {
            for file in [format!("tls/{name}.pem"), format!("tls/{name}.key.pem")] {
                copy(&self.path(&file), &host.join(&file));
            }
        }
    }

    /// The shipped file with this machine's addresses.
    fn config(&self, name: &str) -> String {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/three-hosts");
        let text = std::fs::read_to_string(folder.join(format!("{name}.toml"))).unwrap();
        ROLES.iter().fold(text, |text, role| {
            text.replace(
                &format!("tls:{role}.seal.internal:7400"),
                &self.endpoint(*role).to_string(),
            )
        })
    }

    /// Changes a host's config before its daemon starts.
    pub fn reconfigure(&self, role: Role, from: &str, to: &str) {
        let file = self.host(role).join(format!("{role}.toml"));
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, replaced(&text, from, to)).unwrap();
    }

    /// Starts a daemon as its host's operator would, and waits until it answers the conductor.
    pub async fn start(&mut self, role: Role) {
        let child = self
            .program(role)
            .args([role.name(), "--config"])
            .arg(self.host(role).join(format!("{role}.toml")))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.log(role)).unwrap())
            .spawn()
            .unwrap();
        self.daemons.push((role, child));
        let begun = Instant::now();
        while let Err(error) = self.health(role).await {
            let log = std::fs::read_to_string(self.log(role)).unwrap_or_default();
            assert!(
                begun.elapsed() < PATIENCE / 4,
                "the {role} does not get ready: {error}\n{log}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends a daemon as its operator would to have it read its files again.
    pub fn stop(&mut self, role: Role) {
        let at = self.daemons.iter().position(|(other, _)| *other == role).unwrap();
        let (_, mut daemon) = self.daemons.remove(at);
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    fn program(&self, role: Role) -> Command {
        let seal = env!("CARGO_BIN_EXE_seal");
        if !self.namespaces {
            return Command::new(seal);
        }
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", &format!("seal-{role}"), seal]);
        inside
    }

    pub async fn health(&self, role: Role) -> Result<Health, seal_conductor::client::ClientError> {
        self.client(role, "conductor").get(path::HEALTH).await
    }

    pub fn log(&self, role: Role) -> PathBuf {
        self.path(&format!("{role}.log"))
    }

    pub fn pid(&self, role: Role) -> u32 {
        self.daemons.iter().find(|(other, _)| *other == role).unwrap().1.id()
    }

    /// A client of a role's daemon that shows what `seal tls init` has issued for `name`.
    pub fn client(&self, role: Role, name: &str) -> Client {
        self.client_with(role, &self.pair(name), Party::of_daemon(role).unwrap())
    }

    pub fn client_with(&self, role: Role, pair: &Pair, expected: Party) -> Client {
        let own = TlsClient::read(&pair.config(&self.path("tls/ca.pem")), &Party::ALL).unwrap();
        Client::new(&self.endpoint(role)).over_tls(&own, expected)
    }

    pub fn pair(&self, name: &str) -> Pair {
        let file = |ending: &str| self.path(&format!("tls/{name}{ending}"));
        Pair { certificate: file(".pem"), key: file(".key.pem") }
    }

    /// A further certificate of the deployment's CA.
    pub fn forge(&self, wanted: &Wanted) -> Pair {
        let read = |file: &str| std::fs::read_to_string(self.path(file)).unwrap();
        let key = KeyPair::from_pem(&read("tls/ca.key.pem")).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&read("tls/ca.pem"), key).unwrap();
        wanted.signed_by(&issuer, &self.path("forged"))
    }

    /// A certificate of a CA that nobody here named, with the same words in it.
    pub fn foreign(&self, wanted: &Wanted) -> Pair {
        let folder = self.path("foreign-ca");
        let made = seal(&["tls", "init", folder.to_str().unwrap(), "--trust-domain", TRUST_DOMAIN]);
        assert!(made.status.success(), "{}", stderr(&made));
        let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
        let key = KeyPair::from_pem(&read("ca.key.pem")).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), key).unwrap();
        wanted.signed_by(&issuer, &self.path("forged"))
    }

    /// A list of the deployment's CA, PEM, that nobody has written anew.
    pub fn list_that_ended_yesterday(&self) -> String {
        let read = |file: &str| std::fs::read_to_string(self.path(file)).unwrap();
        let key = KeyPair::from_pem(&read("tls/ca.key.pem")).unwrap();
        let issuer = Issuer::from_ca_cert_pem(&read("tls/ca.pem"), key).unwrap();
        let ago = |days| OffsetDateTime::now_utc() - time::Duration::days(days);
        let list = CertificateRevocationListParams {
            this_update: ago(9),
            next_update: ago(1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&issuer).unwrap().pem().unwrap()
    }

    /// `seal …` in the conductor's folder.
    pub fn conduct(&self, arguments: &[&str]) -> Output {
        in_folder(&self.conductor(), arguments)
    }

    pub fn connect(&self, role: Role) -> TcpStream {
        let stream = TcpStream::connect(self.at(role)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for (_, daemon) in &mut self.daemons {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// `seal --run folder …`.
pub fn in_folder(folder: &Path, arguments: &[&str]) -> Output {
    let mut all = vec!["--run", folder.to_str().unwrap()];
    all.extend(arguments);
    seal(&all)
}

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "`{from}` is not in\n{text}");
    text.replacen(from, to, 1)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success(), "{}", from.display());
}

/// Files of a certificate and its key.
#[derive(Clone)]
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Pair {
    pub fn config(&self, ca: &Path) -> TlsConfig {
        TlsConfig {
            trust_domain: TRUST_DOMAIN.to_owned(),
            ca: ca.to_owned(),
            revoked: None,
            certificate: self.certificate.clone(),
            key: self.key.clone(),
        }
    }
}

/// What a certificate is to say, right or wrong.
pub struct Wanted {
    pub uri: Option<String>,
    pub host: String,
    pub usages: Vec<ExtendedKeyUsagePurpose>,
    /// From now, in days.
    pub valid: (i64, i64),
}

impl Wanted {
    /// For both ends, as SPIRE and many an organisation's CA issue them.
    pub fn both_ends(party: &str) -> Self {
        Self {
            uri: Some(format!("spiffe://{TRUST_DOMAIN}/{party}/forged")),
            host: "127.0.0.2".to_owned(),
            usages: vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth],
            valid: (-1, 1),
        }
    }

    fn signed_by(&self, issuer: &Issuer<'_, KeyPair>, folder: &Path) -> Pair {
        std::fs::create_dir_all(folder).unwrap();
        let number = std::fs::read_dir(folder).unwrap().count();
        let file = |ending: &str| folder.join(format!("{number}{ending}"));
        let mut params = CertificateParams::new([self.host.clone()]).unwrap();
        let uri = self.uri.iter().map(|uri| SanType::URI(uri.as_str().try_into().unwrap()));
        params.subject_alt_names.extend(uri);
        params.extended_key_usages = self.usages.clone();
        params.use_authority_key_identifier_extension = true;
        let now = OffsetDateTime::now_utc();
        params.not_before = now + time::Duration::days(self.valid.0);
        params.not_after = now + time::Duration::days(self.valid.1);
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let pair = Pair { certificate: file(".pem"), key: file(".key.pem") };
        let signed = params.signed_by(&key, issuer).unwrap();
        std::fs::write(&pair.certificate, signed.pem()).unwrap();
        std::fs::write(&pair.key, key.serialize_pem()).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&pair.key, mode).unwrap();
        pair
    }
}
