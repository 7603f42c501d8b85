//! A run of the miniature with the configs of `configs/api-teacher`.

#![allow(clippy::unwrap_used, unreachable_pub)]

use toml_edit::{DocumentMut, value};

use crate::common::Run;

/// The miniature's plain text as a prompt family: begin token, title and passage, the marker of an edit.
fn family(instruction: &str) -> String {
    format!(
        "name = \"miniature-text/v1\"\ninstruction = \"{instruction}\"\npassage_label = \"<bos>\"\n\
         answer_label = \"<edit>\"\n\n[reply]\nform = \"text\"\nrule = \"june\"\nsplit_newlines = true\n\
         context = \"each\"\n"
    )
}

/// Puts the shipped configs into a run, asked in plain text at this base URL, each changed by `change`,
/// which is told the role.
pub fn configure(
    run: &Run,
    (base_url, host): (&str, &str),
    instruction: &str,
    change: impl Fn(&str, &mut DocumentMut),
) {
    let digest = std::fs::read_to_string(run.path("trust/root.sha256")).unwrap();
    for role in ["teacher", "student", "auditor"] {
        let shipped = format!("{}/configs/api-teacher/{role}.toml", env!("CARGO_MANIFEST_DIR"));
        let mut config: DocumentMut = std::fs::read_to_string(shipped).unwrap().parse().unwrap();
        config["trust_root_sha256"] = value(digest.trim());
        if role == "teacher" {
            config["prompt_family"] = value("family.toml");
            let backend = config["backend"].as_table_mut().unwrap();
            backend.remove("api_key_file");
            backend["base_url"] = value(base_url);
            config["egress"]["allow_hosts"] = value(toml_edit::Array::from_iter([host]));
            config["egress"]["allow_loopback"] = value(true);
        }
        change(role, &mut config);
        std::fs::write(run.path(&format!("{role}.toml")), config.to_string()).unwrap();
    }
    std::fs::write(run.path("family.toml"), family(instruction)).unwrap();
}
