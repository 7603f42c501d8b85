//! Places where a foreign format has a script run.
//!
//! Looked for in the text itself: a reader of YAML may drop the tag `!function` and leave a string that
//! looks harmless. Some honest texts are refused with it; the message says which line.

use std::path::Path;

use anyhow::{Result, bail};
use regex::Regex;

/// A pattern, in lower case and for one line, and what it starts.
type Hook = (&'static str, &'static str);

/// lm-evaluation-harness.
pub(super) const LM_EVAL: &[Hook] = &[
    (r"!function\b", "`!function` runs Python"),
    (r"!!python|!<[^>]*python", "a Python tag builds objects"),
    (r#"^\s*(-\s+)?["']?class["']?\s*:"#, "`class` runs Python"),
    (r#"["']?\bunsafe_code["']?\s*:\s*["']?true"#, "`unsafe_code` runs what a model writes"),
];

/// promptfoo.
pub(super) const PROMPTFOO: &[Hook] = &[
    (
        r#"\btype["']?\s*:\s*["']?(not-)?(javascript|python|ruby|webhook)\b"#,
        "an assertion of this type runs a script or calls out",
    ),
    (
        r"file://[^\s'\x22,\]}]+\.(js|cjs|mjs|jsx|ts|cts|mts|tsx|py|rb|go|sh|wasm|exe)\b",
        "a script is named as a file",
    ),
    (
        r#"(^|[\s"'\[,-])(exec|python|javascript|ruby):\s*\S*\.(js|cjs|mjs|ts|py|rb|sh)\b"#,
        "a script is named",
    ),
    (r#"(^|[\s"'\[,-])exec:"#, "`exec:` runs a program"),
    (
        r#"["']?\b(transform|transformvars|contexttransform|transformresponse|postprocess|extensions|nunjucksfilters|assertscoringfunction)["']?\s*:"#,
        "this setting runs a script",
    ),
    (r"!function\b|!!js|!!python|!<[^>]*(js|python)", "a tag that runs or builds something"),
];

/// inspect_ai, whose samples may bring a script for a sandbox.
pub(super) const INSPECT: &[Hook] = &[(r#""setup"\s*:"#, "`setup` is a script for a sandbox")];

/// Refuses a text that would have something run.
///
/// # Errors
/// The first line that does, and why.
pub(super) fn refuse(path: &Path, text: &str, hooks: &[Hook]) -> Result<()> {
    for (pattern, what) in hooks {
        let pattern = Regex::new(pattern)?;
        let lines = text.lines().enumerate();
        let mut code = lines.filter(|(_, line)| !line.trim_start().starts_with('#'));
        if let Some((at, _)) = code.find(|(_, line)| pattern.is_match(&line.to_lowercase())) {
            bail!(
                "`{}` line {}: {what}, and nothing of it is run here; take it out, or write down what it \
                 yields",
                path.display(),
                at + 1
            );
        }
    }
    Ok(())
}
