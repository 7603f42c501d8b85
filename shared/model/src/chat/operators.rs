//! The operators of a template with Python's meaning, each paid for.
//!
//! The engine's own would print lists in another way, and would let a text double until memory ends.

use super::meter::{Meter, failed};
use super::print::text;
use minijinja::value::{ValueIter, ValueKind};
use minijinja::{Environment, Error, ErrorKind, FormatStyle, Value, format_filter};
use std::sync::Arc;

/// Names under which compiled templates call the operators: no template can write them.
pub(super) mod names {
    pub(in super::super) const ADD: &str = "\0add";
    pub(in super::super) const SUB: &str = "\0sub";
    pub(in super::super) const MUL: &str = "\0mul";
    pub(in super::super) const DIV: &str = "\0div";
    pub(in super::super) const FLOOR_DIV: &str = "\0floor_div";
    pub(in super::super) const REM: &str = "\0rem";
    pub(in super::super) const POW: &str = "\0pow";
    pub(in super::super) const CONCAT: &str = "\0concat";
    pub(in super::super) const SLICE: &str = "\0slice";
    pub(in super::super) const LIST: &str = "\0list";
    pub(in super::super) const DICT: &str = "\0dict";
    pub(in super::super) const WEIGHED: &str = "\0weighed";
    pub(in super::super) const KEPT: &str = "\0kept";
    pub(in super::super) const KEPT_INSIDE: &str = "\0kept_inside";
    pub(in super::super) const ITERATED: &str = "\0iterated";
}

/// Deepest nesting of a value that is kept in a variable.
const MAX_KEPT_DEPTH: usize = 64;
/// Widest padding a format may ask for.
const MAX_FORMAT_WIDTH: usize = 1000;

type Binary = fn(&Meter, &Value, &Value) -> Result<Value, Error>;

/// Gives compiled templates their operators.
pub(super) fn install(env: &mut Environment<'_>, meter: &Arc<Meter>) {
    let binary: [(&'static str, Binary); 8] = [
        (names::ADD, add),
        (names::SUB, |_, a, b| arithmetic("-", a, b, i128::checked_sub, |a, b| a - b)),
        (names::MUL, mul),
        (names::DIV, |_, a, b| div(a, b)),
        (names::FLOOR_DIV, |_, a, b| floor_div(a, b)),
        (names::REM, rem),
        (names::POW, |_, a, b| pow(a, b)),
        (names::CONCAT, concat),
    ];
    for (name, operator) in binary {
        let meter = Arc::clone(meter);
        env.add_function(name, move |a: &Value, b: &Value| operator(&meter, a, b));
    }
    let own = Arc::clone(meter);
    env.add_function(names::SLICE, move |value: &Value, a: &Value, b: &Value, step: &Value| {
        slice(&own, value, [a, b, step])
    });
    let own = Arc::clone(meter);
    env.add_function(names::LIST, move |items: minijinja::value::Rest<Value>| {
        own.charge_elements(items.len())?;
        Ok(Value::from(items.0))
    });
    let own = Arc::clone(meter);
    env.add_function(names::DICT, move |flat: minijinja::value::Rest<Value>| {
        own.charge_elements(flat.len())?;
        Ok(Value::from_iter(flat.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()))))
    });
    let own = Arc::clone(meter);
    env.add_function(names::WEIGHED, move |value: &Value| {
        own.charge(value.as_str().map_or(8, |text| 8 + text.len() / 8))?;
        Ok(value.clone())
    });
    let own = Arc::clone(meter);
    env.add_function(names::KEPT, move |value: &Value| {
        weigh_depth(&own, value, false, 0)?;
        Ok(value.clone())
    });
    let own = Arc::clone(meter);
    env.add_function(names::KEPT_INSIDE, move |value: &Value, _namespace: &Value| {
        weigh_depth(&own, value, true, 0)?;
        Ok(value.clone())
    });
    env.add_function(names::ITERATED, |value: &Value| items(value).map(|_| value.clone()));
}

/// Values may nest only so deep: dropping and comparing them recurses. And what goes `inside` a
/// namespace may hold none: a circle of them would never be freed.
fn weigh_depth(meter: &Meter, value: &Value, inside: bool, depth: usize) -> Result<(), Error> {
    meter.charge(8)?;
    if depth > MAX_KEPT_DEPTH {
        return Err(failed("a value is nested too deeply to be kept"));
    }
    if inside && !is_plain_data(value) {
        return Err(failed("a namespace can hold texts, numbers, lists and dicts"));
    }
    match value.kind() {
        ValueKind::Map => value
            .try_iter()?
            .try_for_each(|key| weigh_depth(meter, &value.get_item(&key)?, inside, depth + 1)),
        ValueKind::Seq | ValueKind::Iterable => {
            value.try_iter()?.try_for_each(|item| weigh_depth(meter, &item, inside, depth + 1))
        }
        _ => Ok(()),
    }
}

/// No macro, loop or namespace.
fn is_plain_data(value: &Value) -> bool {
    let is_namespace = || value.as_object().is_some_and(|o| o.type_name().ends_with("Namespace"));
    match value.kind() {
        ValueKind::Plain => false,
        ValueKind::Map => !is_namespace(),
        _ => true,
    }
}

/// A number as Python computes with it; booleans are 0 and 1.
#[derive(Clone, Copy)]
enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    fn of(value: &Value) -> Option<Self> {
        match value.kind() {
            ValueKind::Bool => Some(Self::Int(i128::from(value.is_true()))),
            ValueKind::Number if value.is_integer() => {
                i128::try_from(value.clone()).ok().map(Self::Int)
            }
            ValueKind::Number => f64::try_from(value.clone()).ok().map(Self::Float),
            _ => None,
        }
    }

    fn float(self) -> f64 {
        match self {
            Self::Int(int) => int as f64,
            Self::Float(float) => float,
        }
    }
}

fn int(value: i128) -> Value {
    i64::try_from(value).map_or_else(|_| Value::from(value), Value::from)
}

fn unsupported(operator: &str, a: &Value, b: &Value) -> Error {
    if a.is_undefined() || b.is_undefined() {
        return Error::from(ErrorKind::UndefinedError);
    }
    failed(format!("`{operator}` does not take a {} and a {}", a.kind(), b.kind()))
}

fn too_large() -> Error {
    failed("a number is too large")
}

fn arithmetic(
    operator: &str,
    a: &Value,
    b: &Value,
    ints: fn(i128, i128) -> Option<i128>,
    floats: fn(f64, f64) -> f64,
) -> Result<Value, Error> {
    match (Number::of(a), Number::of(b)) {
        (Some(Number::Int(a)), Some(Number::Int(b))) => ints(a, b).map(int).ok_or_else(too_large),
        (Some(a), Some(b)) => Ok(Value::from(floats(a.float(), b.float()))),
        _ => Err(unsupported(operator, a, b)),
    }
}

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

fn add(meter: &Meter, a: &Value, b: &Value) -> Result<Value, Error> {
    if let (Some(a), Some(b)) = (a.as_str(), b.as_str()) {
        meter.charge(a.len() + b.len())?;
        return Ok(Value::from([a, b].concat()));
    }
    if is_list(a) && is_list(b) {
        let items: Vec<Value> = collect(meter, a)?.into_iter().chain(collect(meter, b)?).collect();
        return Ok(Value::from(items));
    }
    arithmetic("+", a, b, i128::checked_add, |a, b| a + b)
}

/// The items of a list, paid for.
pub(super) fn collect(meter: &Meter, list: &Value) -> Result<Vec<Value>, Error> {
    let mut collected = Vec::new();
    for item in items(list)? {
        meter.charge_elements(1)?;
        collected.push(item);
    }
    Ok(collected)
}

/// What a loop goes over. The engine would go over `none` as over nothing; Python does not.
pub(super) fn items(value: &Value) -> Result<ValueIter, Error> {
    if value.is_none() { Err(failed("none cannot be iterated")) } else { value.try_iter() }
}

fn concat(meter: &Meter, a: &Value, b: &Value) -> Result<Value, Error> {
    let (a, b) = (text(meter, a)?, text(meter, b)?);
    meter.charge(a.len() + b.len())?;
    Ok(Value::from([a, b].concat()))
}

fn mul(meter: &Meter, a: &Value, b: &Value) -> Result<Value, Error> {
    let times = |value: &Value| match Number::of(value) {
        Some(Number::Int(times)) => Some(usize::try_from(times.max(0)).unwrap_or(usize::MAX)),
        _ => None,
    };
    for (repeated, count) in [(a, b), (b, a)] {
        let Some(times) = times(count) else { continue };
        if let Some(text) = repeated.as_str() {
            meter.charge(text.len().saturating_mul(times))?;
            return Ok(Value::from(text.repeat(times)));
        }
        if is_list(repeated) {
            let items = collect(meter, repeated)?;
            meter.charge_elements(items.len().saturating_mul(times))?;
            let items: Vec<Value> =
                items.iter().cycle().take(items.len() * times).cloned().collect();
            return Ok(Value::from(items));
        }
    }
    arithmetic("*", a, b, i128::checked_mul, |a, b| a * b)
}

fn by_zero() -> Error {
    failed("division by zero")
}

fn div(a: &Value, b: &Value) -> Result<Value, Error> {
    match (Number::of(a), Number::of(b)) {
        (Some(_), Some(b)) if b.float() == 0.0 => Err(by_zero()),
        (Some(a), Some(b)) => Ok(Value::from(a.float() / b.float())),
        _ => Err(unsupported("/", a, b)),
    }
}

fn floor_div(a: &Value, b: &Value) -> Result<Value, Error> {
    if Number::of(b).is_some_and(|b| b.float() == 0.0) {
        return Err(by_zero());
    }
    let ints = |a: i128, b: i128| {
        let quotient = a.checked_div(b)?;
        let rounds_up = a % b != 0 && (a < 0) != (b < 0);
        Some(quotient - i128::from(rounds_up))
    };
    arithmetic("//", a, b, ints, |a, b| (a / b).floor())
}

/// The remainder has the divisor's sign. A text on the left is a format.
fn rem(meter: &Meter, a: &Value, b: &Value) -> Result<Value, Error> {
    if let Some(format) = a.as_str() {
        let arguments = if is_list(b) { collect(meter, b)? } else { vec![b.clone()] };
        return formatted(meter, FormatStyle::Printf, format, &arguments);
    }
    if Number::of(b).is_some_and(|b| b.float() == 0.0) {
        return Err(by_zero());
    }
    let ints = |a: i128, b: i128| {
        let rest = a.checked_rem(b)?;
        Some(if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest })
    };
    arithmetic("%", a, b, ints, |a, b| a - b * (a / b).floor())
}

fn pow(a: &Value, b: &Value) -> Result<Value, Error> {
    let ints = |a: i128, b: i128| a.checked_pow(u32::try_from(b).ok()?);
    match (Number::of(a), Number::of(b)) {
        (Some(a), Some(Number::Int(b @ ..0))) => Ok(Value::from(a.float().powf(b as f64))),
        _ => arithmetic("**", a, b, ints, f64::powf),
    }
}

/// `format % arguments` and `format.format(*arguments)`.
pub(super) fn formatted(
    meter: &Meter,
    style: FormatStyle,
    format: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    let widths = format.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let is_wide = |digits: &str| digits.parse::<usize>().map_or(true, |n| n > MAX_FORMAT_WIDTH);
    if widths.into_iter().any(is_wide) || format.contains('*') {
        return Err(failed("a format asks for too much padding"));
    }
    if !names_are_ascii(style, format) {
        return Err(failed("a format names an argument in letters beyond ASCII"));
    }
    let places = format.matches(['{', '%']).count();
    let arguments: Vec<Value> = arguments
        .iter()
        .map(|value| match value.kind() {
            ValueKind::Number | ValueKind::String => Ok(value.clone()),
            _ if value.is_kwargs() => Ok(value.clone()),
            _ => Ok(Value::from(text(meter, value)?.into_owned())),
        })
        .collect::<Result<_, Error>>()?;
    let longest = arguments.iter().filter_map(|value| value.as_str().map(str::len)).max();
    let each = MAX_FORMAT_WIDTH + longest.unwrap_or(0);
    meter.charge(format.len() + places.saturating_mul(each))?;
    format_filter(style, format, &arguments).map(Value::from)
}

/// Whether what stands between `%(` and `)`, or `{` and `}`, is ASCII. minijinja 2.24 takes such names
/// apart byte by byte and panics within a longer letter.
fn names_are_ascii(style: FormatStyle, format: &str) -> bool {
    let (mark, open, close) = match style {
        FormatStyle::Printf => ("%", "(", ')'),
        _ => ("{", "", '}'),
    };
    let mut rest = format;
    while let Some(at) = rest.find(mark) {
        rest = &rest[at + mark.len()..];
        if let Some(escaped) = rest.strip_prefix(mark) {
            rest = escaped;
        } else if let Some(name) = rest.strip_prefix(open) {
            let end = name.find(close).unwrap_or(name.len());
            if !name[..end].is_ascii() {
                return false;
            }
            rest = &name[end..];
        }
    }
    true
}

/// `value[start:stop:step]` of a text or list.
fn slice(meter: &Meter, value: &Value, bounds: [&Value; 3]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        meter.charge(text.len().saturating_mul(5))?;
        let characters: Vec<char> = text.chars().collect();
        let picked = positions(bounds, characters.len())?.map(|at| characters[at]);
        return Ok(Value::from(picked.collect::<String>()));
    }
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    if !is_list(value) {
        return Err(failed(format!("a {} cannot be sliced", value.kind())));
    }
    let items = collect(meter, value)?;
    let picked = positions(bounds, items.len())?.map(|at| items[at].clone());
    Ok(Value::from(picked.collect::<Vec<Value>>()))
}

/// The indices that a slice of something `len` long picks, as Python's `slice.indices`.
fn positions(bounds: [&Value; 3], len: usize) -> Result<impl Iterator<Item = usize>, Error> {
    let [start, stop, step] = bounds.map(|bound| match Number::of(bound) {
        Some(Number::Int(number)) => Ok(Some(number)),
        None if bound.is_none() => Ok(None),
        _ => Err(failed("the bounds of a slice must be whole numbers")),
    });
    let step = step?.unwrap_or(1);
    if step == 0 {
        return Err(failed("the step of a slice cannot be zero"));
    }
    let len = len as i128;
    let (lowest, highest) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let inside = |bound: i128| {
        let from_the_start = if bound < 0 { bound.saturating_add(len) } else { bound };
        from_the_start.clamp(lowest, highest)
    };
    let (first, end) = if step > 0 { (lowest, highest) } else { (highest, lowest) };
    let (start, stop) = (start?.map_or(first, inside), stop?.map_or(end, inside));
    let is_before_stop = move |at: &i128| if step > 0 { *at < stop } else { *at > stop };
    let from = std::iter::successors(Some(start), move |at| at.checked_add(step));
    Ok(from.take_while(is_before_stop).filter_map(|at| usize::try_from(at).ok()))
}

#[cfg(test)]
mod tests;
