//! Starts a role with `inside.rs` in it and reads what it found.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::common::{PATIENCE, Preloaded};
use super::{Answers, Stage};

/// The plans there are: a role's by its config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    Teacher,
    TeacherWithApi,
    Student,
    Auditor,
    Judge,
}

impl Who {
    pub(crate) const ALL: [Self; 5] =
        [Self::Teacher, Self::TeacherWithApi, Self::Student, Self::Auditor, Self::Judge];

    /// A folder that its config lets it read and not write; of the judge's it reads one file.
    fn may_read(self, stage: &Stage) -> PathBuf {
        match self {
            Self::Judge => stage.run.path("judge"),
            _ => stage.run.path("base"),
        }
    }

    fn role(self) -> &'static str {
        match self {
            Self::Teacher | Self::TeacherWithApi => "teacher",
            Self::Student => "student",
            Self::Auditor => "auditor",
            Self::Judge => "judge",
        }
    }
}

/// The built library.
pub(crate) struct Inside(Preloaded);

impl Inside {
    pub(crate) fn build() -> Self {
        Self(Preloaded::build("tests/escapes/inside.rs"))
    }

    /// What each attempt in this role was answered, under this profile.
    pub(crate) fn answers(&self, stage: &Stage, who: Who, profile: &str) -> Answers {
        let report = stage.run.path(&format!("answers-{who:?}-{profile}"));
        let mut command = self.command(stage, who, profile);
        command.env("SEAL_ESCAPE_REPORT", &report);
        if profile == "off" {
            command.env("SEAL_ESCAPE_UNCONFINED", "1");
        }
        let mut daemon = Ended(command.spawn().unwrap());
        let begun = Instant::now();
        loop {
            let text = std::fs::read_to_string(&report).unwrap_or_default();
            if text.lines().any(|line| line.starts_with("done\t")) {
                return read(&text);
            }
            let ended = daemon.0.try_wait().unwrap();
            let in_time = ended.is_none() && begun.elapsed() < PATIENCE;
            assert!(in_time, "{who:?} told nothing ({ended:?}):\n{}", log(stage));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The log of a daemon in which a thread ran before it confined itself.
    pub(crate) fn start_with_a_thread(&self, stage: &Stage, who: Who) -> String {
        let mut command = self.command(stage, who, "strict");
        command.env("SEAL_ESCAPE_THREAD", "1");
        let status = Ended(command.spawn().unwrap()).0.wait().unwrap();
        assert!(!status.success(), "{who:?} started");
        log(stage)
    }

    fn command(&self, stage: &Stage, who: Who, profile: &str) -> Command {
        let own = stage.run.path(&format!("{}/state", who.role()));
        std::fs::create_dir_all(&own).unwrap();
        let _ = std::os::unix::fs::symlink(stage.run.path("outside/secret"), own.join("link"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_seal"));
        command
            .args([who.role(), "--config"])
            .arg(config(stage, who, profile))
            .env("LD_PRELOAD", self.0.path())
            .env("SEAL_ESCAPE_ROLE", who.role())
            .env("SEAL_ESCAPE_STAGE", stage.run.path("outside"))
            .env("SEAL_ESCAPE_OWN", own)
            .env("SEAL_ESCAPE_READ", who.may_read(stage))
            .env("SEAL_ESCAPE_PORT", stage.port().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(log_file(stage)).unwrap());
        if matches!(who, Who::TeacherWithApi | Who::Judge) {
            command.env("SEAL_ESCAPE_API", stage.api().to_string());
        }
        command
    }
}

/// Killed with the test's interest in it.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn read(text: &str) -> Answers {
    let pairs = text.lines().filter_map(|line| line.split_once('\t'));
    let answers = pairs.filter(|(row, _)| *row != "done");
    answers.map(|(row, answer)| (row.to_owned(), answer.to_owned())).collect()
}

/// The run folder's own config of a role, under a profile; that of a teacher with an API is the one in
/// `configs/api-teacher`. Both that have an endpoint have it on this machine.
fn config(stage: &Stage, who: Who, profile: &str) -> PathBuf {
    let role = who.role();
    let text = match who {
        Who::TeacherWithApi => api_teacher(stage),
        Who::Judge => judge(stage),
        _ => std::fs::read_to_string(stage.run.path(&format!("{role}.toml"))).unwrap(),
    };
    let text: Vec<String> = text
        .lines()
        .map(|line| match line.starts_with("profile = ") {
            true => format!("profile = \"{profile}\""),
            false => line.to_owned(),
        })
        .collect();
    let path = stage.run.path(&format!("{role}-{profile}.toml"));
    std::fs::write(&path, text.join("\n")).unwrap();
    path
}

fn api_teacher(stage: &Stage) -> String {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/api-teacher/teacher.toml");
    let text = std::fs::read_to_string(shipped).unwrap();
    let keyless = [
        ("allow_loopback = false", "allow_loopback = true"),
        ("api_key_file = \"keys/api-key\"", ""),
    ];
    at_home(stage, text, &keyless)
}

fn judge(stage: &Stage) -> String {
    let text = std::fs::read_to_string(stage.run.path("judge.toml")).unwrap();
    let keyless = [
        ("[egress]\n", "[egress]\nallow_loopback = true\n"),
        ("api_key_env = \"JUDGE_API_KEY\"", ""),
    ];
    at_home(stage, text, &keyless)
}

/// A config whose endpoint is on this machine and asks for no key.
fn at_home(stage: &Stage, mut text: String, keyless: &[(&str, &str)]) -> String {
    let host = format!("127.0.0.1:{}", stage.api());
    let (url, allowed) =
        (format!("base_url = \"http://{host}/v1\""), format!("allow_hosts = [\"{host}\"]"));
    let endpoint = [
        ("base_url = \"https://api.openai.com/v1\"", url.as_str()),
        ("allow_hosts = [\"api.openai.com\"]", allowed.as_str()),
    ];
    for (old, new) in endpoint.iter().chain(keyless) {
        assert!(text.contains(old), "the shipped config no longer says `{old}`");
        text = text.replace(old, new);
    }
    text
}

fn log_file(stage: &Stage) -> PathBuf {
    stage.run.path("logs/escapes.log")
}

fn log(stage: &Stage) -> String {
    std::fs::read_to_string(log_file(stage)).unwrap()
}
