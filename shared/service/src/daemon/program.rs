//! A daemon as a program: `seal-<role> --config FILE`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Exit code for a config, key or data that cannot be used.
const BAD_INPUT: u8 = 3;
/// Exit code for arguments that cannot be used.
const USAGE: u8 = 2;

/// `main` of a role's own program: hands the file after `--config` to `run`.
pub fn program(name: &str, run: impl FnOnce(&Path) -> ExitCode) -> ExitCode {
    match config_path(std::env::args_os().skip(1)) {
        Some(path) => run(&path),
        None => {
            eprintln!("usage: {name} --config FILE");
            ExitCode::from(USAGE)
        }
    }
}

fn config_path(mut arguments: impl Iterator<Item = OsString>) -> Option<PathBuf> {
    match (arguments.next(), arguments.next(), arguments.next()) {
        (Some(flag), Some(path), None) if flag == "--config" => Some(path.into()),
        _ => None,
    }
}

/// Serves what was read before confinement, or says on standard error why it cannot be used: logging starts
/// with the daemon, and there is none yet.
pub fn serve_prepared<T>(
    name: &str,
    prepared: anyhow::Result<T>,
    serve: impl FnOnce(T) -> ExitCode,
) -> ExitCode {
    match prepared {
        Ok(prepared) => serve(prepared),
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::from(BAD_INPUT)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_after_its_flag_is_taken_and_nothing_else() {
        let read = |words: &[&str]| config_path(words.iter().map(OsString::from));
        assert_eq!(read(&["--config", "a.toml"]), Some(PathBuf::from("a.toml")));
        for odd in [&[][..], &["--config"], &["a.toml"], &["--config", "a", "b"], &["-c", "a"]] {
            assert_eq!(read(odd), None, "{odd:?}");
        }
    }
}
