//! JSON Schemas: bounded before they are compiled, and searched for the part at fault afterwards.

use super::GrammarError;
use serde_json::{Map, Value, json};

/// Most values, counting every key, element and leaf.
const MAX_VALUES: usize = 20_000;
/// Deepest nesting of values.
const MAX_DEPTH: usize = 64;
/// Most bytes of keys and strings.
const MAX_BYTES: usize = 256 << 10;
/// Largest count or length a keyword may ask for.
const MAX_COUNT: u64 = 10_000;
/// Most parts compiled to find the one at fault.
const MAX_TRIALS: usize = 200;

/// Keywords whose number is a count.
const COUNTS: [&str; 6] =
    ["minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"];
/// Keywords with one schema, with a list of schemas, and with schemas by name.
const ONE: [&str; 3] = ["items", "additionalProperties", "additionalItems"];
const LISTS: [&str; 4] = ["anyOf", "oneOf", "allOf", "prefixItems"];
const NAMED: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];
/// Where a schema that is looked at by itself keeps the whole one.
const WHOLE: &str = "$whole";

/// The schema with the options every one is compiled with.
pub(super) fn with_our_options(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Some(members) = schema.as_object_mut() {
        let options = json!({ "whitespace_pattern": r"[ ]|\n[ \t]{0,64}" });
        members.insert("x-guidance".into(), options);
    }
    schema
}

/// Refuses what is too large or reaches outside.
pub(super) fn check(schema: &Value) -> Result<(), GrammarError> {
    let mut cost = Cost::default();
    cost.walk(schema, &mut Vec::new())
}

#[derive(Default)]
struct Cost {
    values: usize,
    bytes: usize,
}

impl Cost {
    fn walk(&mut self, value: &Value, path: &mut Vec<String>) -> Result<(), GrammarError> {
        let too_large =
            |problem: String| Err(GrammarError::TooLarge { kind: "JSON Schema", problem });
        self.values += 1;
        self.bytes += value.as_str().map_or(0, str::len);
        if path.len() > MAX_DEPTH {
            return too_large(format!("it nests deeper than {MAX_DEPTH}"));
        }
        if self.values > MAX_VALUES || self.bytes > MAX_BYTES {
            return too_large(format!("at most {MAX_VALUES} values and {MAX_BYTES} bytes"));
        }
        match value {
            Value::Array(elements) => elements
                .iter()
                .enumerate()
                .try_for_each(|(at, element)| self.step(at.to_string(), element, path)),
            Value::Object(members) => members.iter().try_for_each(|(key, member)| {
                self.bytes += key.len();
                check_member(key, member, path)?;
                self.step(key.clone(), member, path)
            }),
            _ => Ok(()),
        }
    }

    fn step(
        &mut self,
        key: String,
        value: &Value,
        path: &mut Vec<String>,
    ) -> Result<(), GrammarError> {
        path.push(key);
        self.walk(value, path)?;
        path.pop();
        Ok(())
    }
}

fn check_member(key: &str, value: &Value, path: &[String]) -> Result<(), GrammarError> {
    let refuse = |problem: String| {
        let path = pointer(&[path, &[key.to_owned()]].concat());
        Err(GrammarError::Schema { path, problem })
    };
    // Below these, keys are names and values.
    let names = path.last().is_some_and(|last| NAMED.contains(&last.as_str()));
    let data =
        path.iter().any(|key| ["enum", "const", "default", "examples"].contains(&key.as_str()));
    if names || data {
        return Ok(());
    }
    match (key, value) {
        ("$ref", Value::String(target)) if !target.starts_with('#') => refuse(format!(
            "`{target}` is not in this schema; only references such as `#/$defs/name` are followed"
        )),
        ("x-guidance", _) => refuse("compile options are not taken from a schema".into()),
        (key, Value::Number(n)) if COUNTS.contains(&key) => match n.as_f64() {
            #[allow(clippy::cast_precision_loss)]
            Some(count) if count > MAX_COUNT as f64 => {
                refuse(format!("{n} is more than the {MAX_COUNT} that a text may be asked for"))
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// The deepest part of `schema` that does not compile by itself, and why.
pub(super) fn locate(
    schema: &Value,
    problem: String,
    compile: &dyn Fn(Value) -> Result<(), String>,
) -> (String, String) {
    let whole = redirected(schema);
    let mut found = (Vec::new(), problem);
    let mut trials = 0;
    while let Some(part) = at(schema, &found.0) {
        let deeper = children(part).into_iter().find_map(|step| {
            trials += 1;
            let path = [&found.0[..], &step].concat();
            let plain = path.iter().all(|key| !key.contains(['/', '~', '%']));
            if trials > MAX_TRIALS || !plain {
                return None;
            }
            let reference = format!("#/{WHOLE}/{}", path.join("/"));
            let alone = json!({ "$ref": reference, WHOLE: whole.clone() });
            compile(alone).err().map(|problem| (path, problem))
        });
        let Some(deeper) = deeper else { break };
        found = deeper;
    }
    (pointer(&found.0), found.1)
}

/// The places of the schemas directly inside `schema`.
fn children(schema: &Value) -> Vec<Vec<String>> {
    let Some(members) = schema.as_object() else { return Vec::new() };
    let is_schema = |value: &Value| value.is_object() || value.is_boolean();
    let mut places = Vec::new();
    for (key, value) in members {
        let place = |inner: &str| vec![key.clone(), inner.to_owned()];
        match value {
            Value::Object(named) if NAMED.contains(&key.as_str()) => {
                places.extend(named.iter().filter(|(_, v)| is_schema(v)).map(|(k, _)| place(k)));
            }
            Value::Array(list) if LISTS.contains(&key.as_str()) => {
                let schemas = list.iter().enumerate().filter(|(_, v)| is_schema(v));
                places.extend(schemas.map(|(at, _)| place(&at.to_string())));
            }
            value if ONE.contains(&key.as_str()) && value.is_object() => {
                places.push(vec![key.clone()]);
            }
            _ => {}
        }
    }
    places
}

fn at<'a>(schema: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(schema, |value, key| match value {
        Value::Array(elements) => elements.get(key.parse::<usize>().ok()?),
        value => value.get(key),
    })
}

/// `schema` with references that hold where it lies below [`WHOLE`].
fn redirected(schema: &Value) -> Value {
    match schema {
        Value::Object(members) => {
            let member = |(key, value): (&String, &Value)| {
                let value = match (key.as_str(), value) {
                    ("$ref", Value::String(target)) => match target.strip_prefix('#') {
                        Some(place) => json!(format!("#/{WHOLE}{place}")),
                        None => value.clone(),
                    },
                    _ => redirected(value),
                };
                (key.clone(), value)
            };
            Value::Object(members.iter().map(member).collect::<Map<String, Value>>())
        }
        Value::Array(elements) => Value::Array(elements.iter().map(redirected).collect()),
        plain => plain.clone(),
    }
}

/// A JSON pointer in a URI fragment.
fn pointer(path: &[String]) -> String {
    let escaped = path.iter().map(|key| format!("/{}", key.replace('~', "~0").replace('/', "~1")));
    format!("#{}", escaped.collect::<String>())
}
