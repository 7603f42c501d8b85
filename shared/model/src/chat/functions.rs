//! The functions that chat templates find.

use super::meter::{Meter, failed};
use super::print::text;
use jiff::civil::DateTime;
use jiff::fmt::strtime;
use minijinja::value::{Kwargs, Rest, from_args};
use minijinja::{Environment, Error, State, Value, functions};
use std::sync::Arc;

/// The name under which a `{% generation %}` block calls what marks it.
pub(super) const GENERATION: &str = "__generation__";
/// Begin and end of what a `{% generation %}` block wrote. Unicode assigns no characters here, and
/// conversations that hold them are refused where they would be taken for marks.
pub(super) const MARKS: [char; 2] = ['\u{fdd0}', '\u{fdd1}'];
/// Longest format of `strftime_now`, in bytes.
const MAX_DATE_FORMAT: usize = 256;

/// Gives templates their functions.
pub(super) fn install(env: &mut Environment<'_>, meter: &Arc<Meter>, now: DateTime, marked: bool) {
    let own = Arc::clone(meter);
    env.add_function("raise_exception", move |message: &Value| -> Result<Value, Error> {
        Err(own.raise(&text(&own, message)?))
    });
    env.add_function("strftime_now", move |format: &str| -> Result<String, Error> {
        if format.len() > MAX_DATE_FORMAT {
            return Err(failed("the format of strftime_now is too long"));
        }
        strtime::format(format, now).map_err(|error| failed(format!("strftime_now: {error}")))
    });
    let own = Arc::clone(meter);
    env.add_function("range", move |bounds: Rest<Value>| range(&own, &bounds));
    let own = Arc::clone(meter);
    env.add_function("dict", move |rest: Rest<Value>| {
        let (value, named): (Option<Value>, Kwargs) = from_args(&rest)?;
        own.charge_elements(value.as_ref().and_then(Value::len).unwrap_or(0) + rest.len())?;
        functions::dict(value, named)
    });
    env.add_function("namespace", functions::namespace);
    let own = Arc::clone(meter);
    env.add_function(GENERATION, move |state: &State<'_, '_>, named: Kwargs| {
        let caller: Value = named.get("caller")?;
        let written = caller.call(state, &[])?;
        if !marked {
            return Ok(written);
        }
        let written = text(&own, &written)?;
        own.charge(written.len() + 2 * MARKS[0].len_utf8())?;
        Ok(Value::from(format!("{}{written}{}", MARKS[0], MARKS[1])))
    });
}

/// `range([start,] stop[, step])` as a list.
fn range(meter: &Meter, bounds: &[Value]) -> Result<Value, Error> {
    let number = |value: &Value| {
        value.as_i64().map(i128::from).ok_or_else(|| failed("range takes whole numbers"))
    };
    let bounds = bounds.iter().map(number).collect::<Result<Vec<i128>, Error>>()?;
    let (start, stop, step) = match bounds[..] {
        [stop] => (0, stop, 1),
        [start, stop] => (start, stop, 1),
        [start, stop, step] if step != 0 => (start, stop, step),
        _ => return Err(failed("range takes one to three numbers, the last not zero")),
    };
    let count = ((stop - start + step - step.signum()) / step).max(0);
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    meter.charge_elements(count)?;
    let numbers = (0..count as i128).map(|at| (start + at * step) as i64);
    Ok(Value::from_iter(numbers))
}
