//! The filters that chat templates find, with Jinja2's and transformers' meaning.
//!
//! A filter that is not here is unknown. Where the engine's own filter means the same and makes
//! nothing larger than its input, it is used.

use super::json::{Layout, to_json};
use super::meter::{Meter, failed};
use super::methods::{
    capitalized, is_space, joined, lines, pairs, replaced, strip_end, strip_start,
};
use super::operators::{collect, formatted, items};
use super::print::text;
use minijinja::value::{Kwargs, Rest, ValueKind, from_args};
use minijinja::{Environment, Error, FormatStyle, State, Value, filters};
use std::sync::Arc;

/// Gives templates their filters.
pub(super) fn install(env: &mut Environment<'_>, meter: &Arc<Meter>) {
    texts(env, meter);
    lists(env, meter);
    values(env, meter);
}

type Change = fn(&str) -> String;

/// Filters that make a text of a text.
fn texts(env: &mut Environment<'_>, meter: &Arc<Meter>) {
    let changes: [(&'static str, Change); 5] = [
        ("upper", str::to_uppercase),
        ("lower", str::to_lowercase),
        ("capitalize", capitalized),
        ("title", titled_words),
        ("string", str::to_owned),
    ];
    for (name, change) in changes {
        let meter = Arc::clone(meter);
        env.add_filter(name, move |value: &Value| -> Result<Value, Error> {
            let text = text(&meter, value)?;
            meter.charge(text.len())?;
            Ok(Value::from(change(&text)))
        });
    }
    env.add_filter("safe", |value: &Value| value.clone());
    let own = Arc::clone(meter);
    env.add_filter("trim", move |value: &Value, set: Option<&str>| -> Result<Value, Error> {
        let text = text(&own, value)?;
        own.charge(text.len())?;
        Ok(Value::from(strip_end(strip_start(&text, set), set)))
    });
    let own = Arc::clone(meter);
    env.add_filter(
        "replace",
        move |value: &Value, old: &Value, new: &Value, count: Option<i64>| {
            let [value, old, new] = [text(&own, value)?, text(&own, old)?, text(&own, new)?];
            replaced(&own, &value, &old, &new, count)
        },
    );
    let own = Arc::clone(meter);
    env.add_filter("format", move |format: &str, arguments: Rest<Value>| {
        formatted(&own, FormatStyle::Printf, format, &arguments)
    });
    let own = Arc::clone(meter);
    env.add_filter("indent", move |value: &Value, rest: Rest<Value>| {
        let (positional, named) = from_args(&rest)?;
        indented(&own, value, positional, &named)
    });
}

/// Every word with a capital at its head; an apostrophe ends no word.
fn titled_words(own: &str) -> String {
    let begins = |c: char| is_space(c) || matches!(c, '-' | '(' | '{' | '[' | '<');
    let words = own.split_inclusive(begins);
    words.map(capitalized).collect()
}

/// All lines but the first, and the empty ones, moved to the right.
fn indented(
    meter: &Meter,
    value: &Value,
    positional: &[Value],
    named: &Kwargs,
) -> Result<String, Error> {
    let argument = |at: usize, name: &str| -> Result<Option<Value>, Error> {
        Ok(positional.get(at).cloned().or(named.get::<Option<Value>>(name)?))
    };
    let is_set = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let width = argument(0, "width")?.unwrap_or_else(|| Value::from(4));
    let (first, blank) = (is_set(argument(1, "first")?), is_set(argument(2, "blank")?));
    named.assert_all_used()?;
    let margin = match (width.as_str(), width.as_i64()) {
        (Some(margin), _) => margin.to_owned(),
        (None, Some(width)) => {
            let width = usize::try_from(width).unwrap_or(0);
            meter.charge(width)?;
            " ".repeat(width)
        }
        _ => return Err(failed("`width` of indent must be a number or a text")),
    };
    let value = format!("{}\n", text(meter, value)?);
    let lines = lines(&value, false);
    meter.charge(value.len().saturating_add(lines.len().saturating_mul(margin.len() + 1)))?;
    let mut out = String::new();
    for (at, line) in lines.iter().enumerate() {
        if at > 0 {
            out.push('\n');
        }
        if (at > 0 && (blank || !line.is_empty())) || (at == 0 && first) {
            out.push_str(&margin);
        }
        out.push_str(line);
    }
    Ok(out)
}

type ListFilter = fn(&State<'_, '_>, Value, Rest<Value>) -> Result<Value, Error>;

/// Filters that take a list or dict.
fn lists(env: &mut Environment<'_>, meter: &Arc<Meter>) {
    let selections: [(&'static str, ListFilter); 11] = [
        ("select", |state, list, rest| {
            filters::select(state, list, name_of(&rest, 0), after(rest, 1)).map(Value::from)
        }),
        ("reject", |state, list, rest| {
            filters::reject(state, list, name_of(&rest, 0), after(rest, 1)).map(Value::from)
        }),
        ("selectattr", |state, list, rest| {
            filters::selectattr(state, list, attribute(&rest)?, name_of(&rest, 1), after(rest, 2))
                .map(Value::from)
        }),
        ("rejectattr", |state, list, rest| {
            filters::rejectattr(state, list, attribute(&rest)?, name_of(&rest, 1), after(rest, 2))
                .map(Value::from)
        }),
        ("map", |state, list, rest| filters::map(state, list, rest).map(Value::from)),
        ("sort", |state, list, rest| filters::sort(state, list, named(&rest))),
        ("unique", |state, list, rest| filters::unique(state, list, named(&rest))),
        ("min", |state, list, _| filters::min(state, list)),
        ("max", |state, list, _| filters::max(state, list)),
        ("sum", |state, list, _| filters::sum(state, list)),
        ("reverse", |_, list, _| list.reverse()),
    ];
    for (name, filter) in selections {
        let meter = Arc::clone(meter);
        env.add_filter(name, move |state: &State<'_, '_>, value: Value, rest: Rest<Value>| {
            let list = if value.as_str().is_some() {
                value
            } else {
                Value::from(collect(&meter, &value)?)
            };
            meter.charge_elements(list.len().unwrap_or(0))?;
            filter(state, list, rest)
        });
    }
    env.add_filter("first", filters::first);
    env.add_filter("last", filters::last);
    let own = Arc::clone(meter);
    env.add_filter("list", move |value: &Value| collect(&own, value).map(Value::from));
    let own = Arc::clone(meter);
    env.add_filter("join", move |list: &Value, between: Option<&Value>, named: Kwargs| {
        join(&own, list, between, &named)
    });
    let own = Arc::clone(meter);
    env.add_filter("items", move |dict: &Value| match dict.kind() {
        ValueKind::Undefined => Ok(Value::from(Vec::<Value>::new())),
        ValueKind::Map => pairs(&own, dict),
        other => Err(failed(format!("items takes a dict, not a {other}"))),
    });
    let own = Arc::clone(meter);
    env.add_filter("dictsort", move |dict: &Value, named: Kwargs| {
        own.charge_elements(dict.len().unwrap_or(0).saturating_mul(3))?;
        collect(&own, &filters::dictsort(dict, named)?).map(Value::from)
    });
    let own = Arc::clone(meter);
    for name in ["length", "count"] {
        let own = Arc::clone(&own);
        env.add_filter(name, move |value: &Value| length(&own, value));
    }
}

fn name_of(rest: &Rest<Value>, at: usize) -> Option<std::borrow::Cow<'static, str>> {
    rest.get(at).and_then(Value::as_str).map(|name| name.to_owned().into())
}

fn attribute(rest: &Rest<Value>) -> Result<std::borrow::Cow<'static, str>, Error> {
    name_of(rest, 0).ok_or_else(|| failed("selectattr and rejectattr need an attribute's name"))
}

fn after(rest: Rest<Value>, count: usize) -> Rest<Value> {
    Rest(rest.0.into_iter().skip(count).collect())
}

fn named(rest: &Rest<Value>) -> Kwargs {
    let named = rest.last().and_then(|last| Kwargs::try_from(last.clone()).ok());
    named.unwrap_or_else(|| Kwargs::from_iter(std::iter::empty::<(&str, Value)>()))
}

fn join(
    meter: &Meter,
    list: &Value,
    between: Option<&Value>,
    named: &Kwargs,
) -> Result<String, Error> {
    let by_name = named.get::<Option<Value>>("d")?;
    let attribute = named.get::<Option<String>>("attribute")?;
    named.assert_all_used()?;
    let between = match between.or(by_name.as_ref()) {
        Some(between) => text(meter, between)?,
        None => "".into(),
    };
    match attribute {
        None => joined(meter, &between, items(list)?),
        Some(name) => {
            let values: Result<Vec<Value>, Error> =
                collect(meter, list)?.iter().map(|item| item.get_attr(&name)).collect();
            joined(meter, &between, values?.into_iter())
        }
    }
}

fn length(meter: &Meter, value: &Value) -> Result<usize, Error> {
    if let Some(text) = value.as_str() {
        meter.charge(text.len() / 8)?;
        return Ok(text.chars().count());
    }
    if value.is_undefined() {
        return Ok(0);
    }
    value.len().ok_or_else(|| failed(format!("a {} has no length", value.kind())))
}

/// Filters that take any value.
fn values(env: &mut Environment<'_>, meter: &Arc<Meter>) {
    let own = Arc::clone(meter);
    env.add_filter("tojson", move |value: &Value, rest: Rest<Value>| {
        let (positional, named): (&[Value], Kwargs) = from_args(&rest)?;
        to_json(&own, value, &Layout::new(positional, &named)?)
    });
    for name in ["default", "d"] {
        env.add_filter(name, default);
    }
    env.add_filter("int", filters::int);
    env.add_filter("float", filters::float);
    env.add_filter("abs", filters::abs);
    env.add_filter("round", filters::round);
}

fn default(value: &Value, rest: Rest<Value>) -> Result<Value, Error> {
    let (positional, named): (&[Value], Kwargs) = from_args(&rest)?;
    let argument = |at: usize, name: &str| -> Result<Option<Value>, Error> {
        Ok(positional.get(at).cloned().or(named.get::<Option<Value>>(name)?))
    };
    let instead = argument(0, "default_value")?.unwrap_or_else(|| Value::from(""));
    let also_false = argument(1, "boolean")?.is_some_and(|boolean| boolean.is_true());
    named.assert_all_used()?;
    let is_missing = value.is_undefined() || (also_false && !value.is_true());
    Ok(if is_missing { instead } else { value.clone() })
}
