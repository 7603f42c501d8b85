//! `seal doctor`: which devices there are, which one each role of a run asks for, and whether the
//! role's model fits there.

use std::path::{Path, PathBuf};

use seal_auditor::config::AuditorConfig;
use seal_model::device::{Opened, free_bytes, hardware};
use seal_model::fit::{self, Work};
use seal_model::gguf::{GgufFile, is_gguf};
use seal_model::{DeviceChoice, ModelError, ModelFolder};
use seal_protocol::Role;
use seal_student::StudentConfig;
use seal_teacher::TeacherConfig;

use super::doctor::{Finding, Level};
use crate::run_dir::RunDir;

/// The GPU, if this program can use one. None is needed.
pub(super) fn gpu() -> Finding {
    let text = match DeviceChoice::Cuda(0).open() {
        Ok(opened) => describe(&opened),
        Err(error) => format!("none, and none is needed ({error})"),
    };
    Finding { what: "gpu", level: Level::Ok, text }
}

/// What the roles of a run compute on, each tried.
pub(super) fn of_run(run: &RunDir) -> Vec<Finding> {
    let teacher = TeacherConfig::load(&run.config_file(Role::Teacher));
    let student = StudentConfig::load(&run.config_file(Role::Student));
    let auditor = AuditorConfig::load(&run.config_file(Role::Auditor));
    let alike = match (&student, &auditor) {
        (Ok(student), Ok(auditor)) => recomputation(student.device, auditor),
        _ => None,
    };
    let roles = [
        (
            Role::Teacher,
            teacher.map(|c| Asked {
                may_be_gguf: true,
                ..Asked::new(c.device, c.first_policy(), seal_teacher::works(&c))
            }),
        ),
        (
            Role::Student,
            student.map(|c| Asked::new(c.device, &c.base_model, seal_student::works(&c))),
        ),
        // What an audit takes follows from the vault, which stays closed.
        (Role::Auditor, auditor.map(|c| Asked::new(c.device, &c.base_model, Vec::new()))),
    ];
    let of_roles = roles.map(|(role, asked)| Finding { what: role.name(), ..of_role(asked) });
    of_roles.into_iter().chain(alike).collect()
}

/// Whether the auditor can find the student's adapters again by training them itself: nothing to say
/// if it does not, if a tolerance is stated, or if both compute alike.
fn recomputation(student: DeviceChoice, auditor: &AuditorConfig) -> Option<Finding> {
    let asked = auditor.recomputation.as_ref()?;
    if asked.tolerance.is_some() || student == auditor.device {
        return None;
    }
    let text = format!(
        "the student computes on \"{student}\", the auditor trains again on \"{}\", and no adapter \
         comes out equal to the bit: give both the same `device`, or state a `tolerance` under \
         [recomputation] in auditor.toml",
        auditor.device
    );
    Some(Finding { what: "recomputation", level: Level::Fail, text })
}

/// What a role asks of this machine.
struct Asked {
    device: DeviceChoice,
    model: PathBuf,
    works: Vec<Work>,
    may_be_gguf: bool,
}

impl Asked {
    fn new(device: DeviceChoice, model: &Path, works: Vec<Work>) -> Self {
        Self { device, model: model.to_owned(), works, may_be_gguf: false }
    }

    /// The role's model in its headers, and what is to be done with it.
    fn check(&self, opened: &Opened) -> Result<(), ModelError> {
        let shape = match self.may_be_gguf && is_gguf(&self.model) {
            true => GgufFile::open(&self.model)?.config().clone(),
            false => ModelFolder::open(&self.model)?.config().clone(),
        };
        let fits = |work| fit::require(&self.model, &shape, &opened.device, work);
        self.works.iter().try_for_each(fits)
    }
}

fn of_role<E: std::fmt::Display>(asked: Result<Asked, E>) -> Finding {
    let asked = match asked {
        Ok(asked) => asked,
        Err(error) => return finding(Level::Fail, error.to_string()),
    };
    let choice = asked.device;
    let opened = match choice.open() {
        Ok(opened) => opened,
        Err(error) => {
            return finding(Level::Fail, format!("device = \"{choice}\": {error}"));
        }
    };
    if let Err(error) = asked.check(&opened) {
        return finding(Level::Fail, format!("{:#}", anyhow::Error::from(error)));
    }
    match opened.note {
        Some(note) => finding(Level::Ok, format!("device = \"{choice}\": {note}")),
        None => finding(Level::Ok, format!("device = \"{choice}\": {}", describe(&opened))),
    }
}

fn finding(level: Level, text: String) -> Finding {
    Finding { what: "", level, text }
}

fn describe(opened: &Opened) -> String {
    let name = hardware(&opened.device);
    match free_bytes(&opened.device) {
        Some(free) => format!("{name}, {} MiB free", free >> 20),
        None => name,
    }
}
