//! `model.safetensors.index.json`: which shard holds which tensor.

use super::header::shown;
use super::refusal::Refusal;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

/// Longest index, in bytes; one entry takes about 100.
pub(super) const MAX_INDEX_BYTES: u64 = 8 << 20;
/// Most shards; each stays open.
const MAX_SHARDS: usize = 512;
/// Most tensors in all shards.
const MAX_TENSORS: usize = 65_536;

/// A checked index: shard by tensor.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) shard_of: BTreeMap<String, String>,
    /// Each shard once, in name order.
    pub(super) shards: Vec<String>,
}

impl Index {
    /// Parses an index. Every shard it names is a plain file name of the same folder.
    pub(super) fn parse(text: &[u8]) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        struct Raw {
            weight_map: WeightMap,
        }
        let raw: Raw = serde_json::from_slice(text).map_err(|e| Refusal::Index(e.to_string()))?;
        let shard_of = raw.weight_map.0;
        let shards: BTreeSet<&String> = shard_of.values().collect();
        if let Some(name) = shards.iter().find(|name| !is_plain(name)) {
            return Err(Refusal::ShardName(shown(name)));
        }
        if shards.is_empty() || shards.len() > MAX_SHARDS {
            let problem = format!("it names {} shards, not 1 to {MAX_SHARDS}", shards.len());
            return Err(Refusal::Index(problem));
        }
        let shards = shards.into_iter().cloned().collect();
        Ok(Self { shard_of, shards })
    }
}

/// A file of this folder: the index must not lead out of it.
fn is_plain(name: &str) -> bool {
    name.ends_with(".safetensors")
        && Path::new(name).file_name() == Some(name.as_ref())
        && !name.contains('\\')
        && !name.chars().any(char::is_control)
}

/// Names to names, each key once.
struct WeightMap(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = WeightMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensor and shard names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WeightMap, A::Error> {
                let mut pairs = BTreeMap::new();
                while let Some((tensor, shard)) = map.next_entry::<String, String>()? {
                    if pairs.len() == MAX_TENSORS {
                        return Err(A::Error::custom(format!("more than {MAX_TENSORS} tensors")));
                    }
                    if pairs.contains_key(&tensor) {
                        let name = shown(&tensor);
                        return Err(A::Error::custom(format!("names tensor `{name}` twice")));
                    }
                    pairs.insert(tensor, shard);
                }
                Ok(WeightMap(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Index::parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn an_index_names_its_shards_once_each() {
        let text = r#"{"metadata": {"total_size": 8}, "weight_map":
            {"b": "m-2.safetensors", "a": "m-1.safetensors", "c": "m-1.safetensors"}}"#;
        let index = Index::parse(text.as_bytes()).unwrap();
        assert_eq!(index.shards, ["m-1.safetensors", "m-2.safetensors"]);
        assert_eq!(index.shard_of["c"], "m-1.safetensors");
    }

    #[test]
    fn a_shard_outside_the_folder_or_of_another_kind_is_refused() {
        for name in [
            "../m.safetensors",
            "/m.safetensors",
            "a/m.safetensors",
            "..",
            "m.bin",
            "",
            r"..\\m.safetensors",
            r"m\u0000.safetensors",
        ] {
            let error = refused(&format!(r#"{{"weight_map": {{"a": "{name}"}}}}"#));
            assert!(error.contains("no plain"), "{name}: {error}");
        }
    }

    #[test]
    fn an_index_that_is_none_is_refused() {
        assert!(refused("{}").contains("weight_map"));
        assert!(refused(r#"{"weight_map": {}}"#).contains("0 shards"));
        assert!(refused(r#"{"weight_map": {"a": 1}}"#).contains("invalid type"));
        let twice = r#"{"weight_map": {"a": "m.safetensors", "a": "n.safetensors"}}"#;
        assert!(refused(twice).contains("twice"));
    }
}
