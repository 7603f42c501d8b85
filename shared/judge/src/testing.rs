//! What the tests of several modules need.

use std::path::Path;

use crate::constitution::Constitution;

/// The principles `a` and `b`, an attack on each, then two harmless texts; `shares` are lines of TOML.
pub(crate) fn two_principles(shares: &str) -> Constitution {
    let principle =
        |name: &str| format!("[[principle]]\nname = \"{name}\"\ntext = \"Not {name}.\"\n");
    let attack = |name: &str| {
        format!("[[case]]\ntext = \"x{name}\"\nruling = \"forbid\"\nprinciple = \"{name}\"\n")
    };
    let harmless = |text: &str| format!("[[case]]\ntext = \"{text}\"\nruling = \"permit\"\n");
    let parts = [
        format!("version = 1\n{shares}"),
        ["a", "b"].map(principle).concat(),
        ["a", "b"].map(attack).concat(),
        ["y", "z"].map(harmless).concat(),
    ];
    Constitution::parse(Path::new("constitution.toml"), parts.concat().as_bytes()).unwrap()
}
