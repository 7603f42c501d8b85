//! `seal doctor`: which devices there are, and which one each role of a run asks for.

use seal_auditor::config::AuditorConfig;
use seal_model::DeviceChoice;
use seal_model::device::{Opened, free_bytes, hardware};
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
    let roles = [
        (Role::Teacher, TeacherConfig::load(&run.config_file(Role::Teacher)).map(|c| c.device)),
        (Role::Student, StudentConfig::load(&run.config_file(Role::Student)).map(|c| c.device)),
        (Role::Auditor, AuditorConfig::load(&run.config_file(Role::Auditor)).map(|c| c.device)),
    ];
    roles.map(|(role, choice)| Finding { what: role.name(), ..of_role(choice) }).to_vec()
}

fn of_role<E: std::fmt::Display>(choice: Result<DeviceChoice, E>) -> Finding {
    let choice = match choice {
        Ok(choice) => choice,
        Err(error) => return finding(Level::Fail, error.to_string()),
    };
    match choice.open() {
        Err(error) => finding(Level::Fail, format!("device = \"{choice}\": {error}")),
        Ok(opened) => match opened.note {
            Some(note) => finding(Level::Ok, format!("device = \"{choice}\": {note}")),
            None => finding(Level::Ok, format!("device = \"{choice}\": {}", describe(&opened))),
        },
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
