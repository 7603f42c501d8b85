//! Who may link whom. The table of docs/ARCHITECTURE.md, held by `cargo metadata`.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Our crates that each of our crates may use in its product (not in its tests).
const MAY_USE: [(&str, &[&str]); 17] = [
    ("seal-protocol", &[]),
    ("seal-trust", &["seal-protocol"]),
    ("seal-model", &[]),
    ("seal-hub", &[]),
    ("seal-training", &["seal-model"]),
    ("seal-recipe", &["seal-protocol", "seal-trust", "seal-model", "seal-training"]),
    ("seal-service", &["seal-protocol"]),
    ("seal-witness", &["seal-protocol", "seal-trust", "seal-service"]),
    ("seal-endpoint", &["seal-protocol", "seal-trust", "seal-service"]),
    ("seal-conductor", &["seal-protocol", "seal-trust", "seal-service"]),
    ("seal-miniature", &["seal-model", "seal-training"]),
    ("seal-bench", &["seal-miniature", "seal-model", "seal-training"]),
    (
        "seal-judge",
        &["seal-protocol", "seal-trust", "seal-witness", "seal-service", "seal-endpoint"],
    ),
    (
        "seal-teacher",
        &[
            "seal-protocol",
            "seal-trust",
            "seal-witness",
            "seal-service",
            "seal-endpoint",
            "seal-model",
            "seal-training",
            "seal-recipe",
        ],
    ),
    (
        "seal-student",
        &[
            "seal-protocol",
            "seal-trust",
            "seal-witness",
            "seal-service",
            "seal-model",
            "seal-training",
            "seal-recipe",
        ],
    ),
    (
        "seal-auditor",
        &["seal-protocol", "seal-trust", "seal-witness", "seal-service", "seal-model"],
    ),
    (
        "seal",
        &[
            "seal-protocol",
            "seal-trust",
            "seal-witness",
            "seal-service",
            "seal-conductor",
            "seal-miniature",
            "seal-bench",
            "seal-model",
            "seal-hub",
            "seal-endpoint",
            "seal-judge",
            "seal-teacher",
            "seal-student",
            "seal-auditor",
        ],
    ),
];

/// What a crate may use besides, once a feature of its own is on.
const MAY_USE_WITH: [(&str, &str, &[&str]); 1] =
    [("seal-auditor", "recompute", &["seal-recipe", "seal-training"])];

/// Crates of others that may never be linked by the crate named first, at any depth.
const NEVER: [(&str, &[&str]); 4] = [
    (
        "seal-auditor",
        &["reqwest", "async-openai", "hf-hub", "seal-endpoint", "seal-conductor", "seal-student"],
    ),
    ("seal-student", &["reqwest", "async-openai", "hf-hub", "seal-endpoint", "seal-conductor"]),
    ("seal-trust", &["rusqlite", "tokio", "candle-core"]),
    ("seal-protocol", &["sha2", "ed25519-dalek", "tokio"]),
];

#[test]
fn each_crate_uses_only_what_the_table_allows() {
    let metadata = metadata();
    let used = direct_dependencies(&metadata);
    for (package, allowed) in MAY_USE {
        let ours: BTreeSet<&String> =
            used[package].iter().filter(|name| name.starts_with("seal")).collect();
        let with = MAY_USE_WITH.iter().filter(|(of, _, _)| *of == package);
        let with: Vec<&str> = with.flat_map(|(_, _, with)| with.iter().copied()).collect();
        for name in ours {
            let is_allowed = allowed.contains(&name.as_str()) || with.contains(&name.as_str());
            assert!(is_allowed, "{package} must not use {name}");
        }
    }
    let known: BTreeSet<&str> = MAY_USE.iter().map(|(name, _)| *name).collect();
    let members = workspace_members(&metadata);
    assert!(members.iter().all(|name| known.contains(name.as_str())), "{members:?}");
}

#[test]
fn what_must_never_be_linked_is_not_reachable() {
    let metadata = metadata();
    let used = direct_dependencies(&metadata);
    for (package, forbidden) in NEVER {
        let reachable = closure(&used, package);
        for name in forbidden {
            assert!(!reachable.contains(*name), "{package} links {name}");
        }
    }
}

/// "What the auditor links" in docs/ARCHITECTURE.md names every crate of others that the auditor or one of
/// ours under it names, and no other.
#[test]
fn the_table_of_what_the_auditor_links_is_true() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("docs/ARCHITECTURE.md")).unwrap();
    let section = text.split("## What the auditor links").nth(1).unwrap();
    let rows =
        section.split("\n## ").next().unwrap().lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').nth(1).unwrap());
    let told: BTreeSet<String> =
        cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect();
    let (_, ours) = MAY_USE.iter().find(|(name, _)| *name == "seal-auditor").unwrap();
    let used: BTreeSet<String> = ours
        .iter()
        .chain(&["seal-auditor"])
        .flat_map(|name| linked_at(name, &["--depth", "1"]))
        .filter(|name| !name.starts_with("seal-"))
        .collect();
    assert_eq!(told, used);
}

/// The root package turns features on, so what a crate links when it is built alone is asked apart.
#[test]
fn what_a_feature_brings_is_linked_with_it_and_not_without() {
    for (package, feature, with) in MAY_USE_WITH {
        let (plain, full) = (linked(package, &[]), linked(package, &["--features", feature]));
        for name in with {
            assert!(!plain.contains(*name), "{package} alone links {name}");
            assert!(full.contains(*name), "{package} with {feature} does not link {name}");
        }
        let forbidden = NEVER.iter().filter(|(of, _)| *of == package);
        for name in forbidden.flat_map(|(_, names)| names.iter()) {
            assert!(!full.contains(*name), "{package} with {feature} links {name}");
        }
    }
}

/// Every crate that a package links when it is built alone.
fn linked(package: &str, arguments: &[&str]) -> BTreeSet<String> {
    tree(package, "normal,build", arguments)
}

/// The same without what is only built with.
fn linked_at(package: &str, arguments: &[&str]) -> BTreeSet<String> {
    tree(package, "normal", arguments)
}

fn tree(package: &str, edges: &str, arguments: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", package, "--edges", edges, "--prefix", "none"])
        .args(["--locked", "--offline"])
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    tree.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

fn metadata() -> Value {
    // Other platforms' crates were never downloaded.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", &platform])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn workspace_members(metadata: &Value) -> BTreeSet<String> {
    let ids: BTreeSet<&str> = metadata["workspace_members"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .filter(|package| ids.contains(package["id"].as_str().unwrap()))
        .map(|package| package["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Normal and build dependencies by package name, as resolved.
fn direct_dependencies(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let packages = metadata["packages"].as_array().unwrap();
    let name_of: BTreeMap<&str, &str> = packages
        .iter()
        .map(|package| (package["id"].as_str().unwrap(), package["name"].as_str().unwrap()))
        .collect();
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in metadata["resolve"]["nodes"].as_array().unwrap() {
        let own = used.entry(name_of[node["id"].as_str().unwrap()].to_owned()).or_default();
        for dependency in node["deps"].as_array().unwrap() {
            let product = dependency["dep_kinds"]
                .as_array()
                .unwrap()
                .iter()
                .any(|kind| kind["kind"].as_str() != Some("dev"));
            if product {
                own.insert(name_of[dependency["pkg"].as_str().unwrap()].to_owned());
            }
        }
    }
    used
}

fn closure(used: &BTreeMap<String, BTreeSet<String>>, root: &str) -> BTreeSet<String> {
    let mut reachable = BTreeSet::new();
    let mut open = vec![root.to_owned()];
    while let Some(name) = open.pop() {
        for next in used.get(&name).into_iter().flatten() {
            if reachable.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    reachable
}
