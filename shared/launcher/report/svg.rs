//! Plots as inline SVG: no script, no font, no address to load anything from.

use std::fmt::Write;

use crate::figures::Estimate;

const WIDTH: f64 = 640.0;
const LABEL: f64 = 210.0;
const ROW: f64 = 30.0;

/// Horizontal bars from 0 to 1 with their intervals.
pub(super) fn bars(title: &str, rows: &[(String, Estimate)]) -> String {
    let height = ROW * rows.len() as f64 + 34.0;
    let x = |share: f64| LABEL + share.clamp(0.0, 1.0) * (WIDTH - LABEL - 90.0);
    let mut svg = open(title, height);
    for tick in 0..=5 {
        let share = f64::from(tick) / 5.0;
        let _ = write!(
            svg,
            "<line class='grid' x1='{0:.1}' y1='4' x2='{0:.1}' y2='{1:.1}'/><text class='tick' x='{0:.1}' y='{2:.1}'>{3:.0} %</text>",
            x(share),
            height - 26.0,
            height - 10.0,
            share * 100.0
        );
    }
    for (index, (label, estimate)) in rows.iter().enumerate() {
        let top = ROW * index as f64 + 6.0;
        let middle = top + 9.0;
        let _ = write!(
            svg,
            "<text class='label' x='{:.1}' y='{:.1}'>{}</text><rect class='bar' x='{:.1}' y='{top:.1}' width='{:.1}' height='18'/>",
            LABEL - 8.0,
            middle + 4.0,
            escape(label),
            x(0.0),
            (x(estimate.mean) - x(0.0)).max(0.5),
        );
        if let Some((low, high)) = estimate.bounds().map(|(low, high)| (x(low), x(high))) {
            let _ = write!(
                svg,
                "<path class='interval' d='M{low:.1} {middle:.1}H{high:.1}M{low:.1} {:.1}v10M{high:.1} {:.1}v10'/>",
                middle - 5.0,
                middle - 5.0,
            );
        }
        let _ = write!(
            svg,
            "<text class='value' x='{:.1}' y='{:.1}'>{:.1} %</text>",
            WIDTH - 80.0,
            middle + 4.0,
            estimate.mean * 100.0
        );
    }
    svg + "</svg>"
}

/// One or two lines over rounds, values from 0 to 1.
pub(super) fn lines(title: &str, names: &[String], series: &[(&str, Vec<f64>)]) -> String {
    let height = 220.0;
    let x = |index: usize| {
        50.0 + index as f64 * (WIDTH - 190.0) / (names.len().saturating_sub(1)).max(1) as f64
    };
    let y = |share: f64| 16.0 + (1.0 - share.clamp(0.0, 1.0)) * (height - 60.0);
    let mut svg = open(title, height);
    for tick in 0..=4 {
        let share = f64::from(tick) / 4.0;
        let _ = write!(
            svg,
            "<line class='grid' x1='50' x2='{:.1}' y1='{1:.1}' y2='{1:.1}'/><text class='label' x='44' y='{2:.1}'>{3:.0} %</text>",
            WIDTH - 130.0,
            y(share),
            y(share) + 4.0,
            share * 100.0
        );
    }
    for (index, name) in names.iter().enumerate() {
        let _ = write!(
            svg,
            "<text class='tick' x='{:.1}' y='{:.1}'>{}</text>",
            x(index),
            height - 22.0,
            escape(name)
        );
    }
    for (number, (name, values)) in series.iter().enumerate() {
        let points: Vec<String> = values
            .iter()
            .enumerate()
            .map(|(index, value)| format!("{:.1},{:.1}", x(index), y(*value)))
            .collect();
        let _ = write!(svg, "<polyline class='line s{number}' points='{}'/>", points.join(" "));
        for (index, value) in values.iter().enumerate() {
            let _ = write!(
                svg,
                "<circle class='dot s{number}' cx='{:.1}' cy='{:.1}' r='3.5'/>",
                x(index),
                y(*value)
            );
        }
        if let Some(last) = values.last() {
            let _ = write!(
                svg,
                "<text class='series s{number}' x='{:.1}' y='{:.1}'>{}</text>",
                x(values.len() - 1) + 10.0,
                y(*last) + 4.0,
                escape(name)
            );
        }
    }
    svg + "</svg>"
}

fn open(title: &str, height: f64) -> String {
    format!(
        "<svg viewBox='0 0 {WIDTH} {height}' role='img' aria-label='{}' xmlns='http://www.w3.org/2000/svg'>",
        escape(title)
    )
}

/// Text for HTML and attributes; control characters are replaced first.
pub(super) fn escape(text: &str) -> String {
    crate::text::printable(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\'', "&#39;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_labels_stay_text() {
        let estimate = Estimate { n: 1, mean: 0.5, low: 0.4, high: 0.6 };
        let svg = bars("t", &[("<script>'\u{1b}".into(), estimate)]);
        assert!(svg.contains("&lt;script&gt;&#39;\u{FFFD}"), "{svg}");
        assert!(!svg.contains("<script>"));
    }
}
