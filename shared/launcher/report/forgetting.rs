//! Forgetting matrices as heat tables: a row per step, a column per context.

use std::fmt::Write;

use super::svg::escape;
use crate::figures::{Figures, Forgetting, Sequence};
use crate::text::percent;

pub(super) fn matrices(page: &mut String, figures: &Figures) {
    let Some(forgetting) = &figures.forgetting else { return };
    page.push_str(
        "<h2>Contexts learned one after another</h2><p class='note'>Accuracy on each context without \
         the context, after each accepted edit of a sequence. On the diagonal a context was just \
         learned; below it others followed. Nothing of this was selected or serves.</p>",
    );
    figures.sequences.iter().for_each(|sequence| matrix(page, sequence));
    means(page, forgetting);
}

fn matrix(page: &mut String, sequence: &Sequence) {
    let _ = write!(page, "<table class='heat'><tr><th>{}</th>", escape(&sequence.stage));
    for context in &sequence.contexts {
        let _ = write!(page, "<th>{}</th>", escape(context));
    }
    page.push_str("<th>retention</th></tr>");
    row(page, "no edit", &sequence.unedited, sequence.contexts.len(), sequence.unedited_retention);
    for step in &sequence.steps {
        let label = format!("{} edit{}", step.edits, if step.edits == 1 { "" } else { "s" });
        row(page, &label, &step.accuracy, sequence.contexts.len(), step.retention);
    }
    page.push_str("</table>");
    if !sequence.left_out.is_empty() {
        let names: Vec<String> = sequence.left_out.iter().map(|name| escape(name)).collect();
        let _ = write!(page, "<p class='note'>No edit was accepted on {}.</p>", names.join(", "));
    }
}

fn row(page: &mut String, label: &str, shares: &[f64], width: usize, retention: Option<f64>) {
    let _ = write!(page, "<tr><td>{label}</td>");
    for place in 0..width {
        match shares.get(place) {
            // The darker, the more is right; the figure says how much.
            Some(share) => {
                let strength = share.clamp(0.0, 1.0) * 0.6;
                let _ = write!(
                    page,
                    "<td style='background:rgba(59,110,168,{strength:.2})'>{}</td>",
                    percent(*share)
                );
            }
            None => page.push_str("<td></td>"),
        }
    }
    let retention = retention.map_or_else(|| "–".into(), percent);
    let _ = write!(page, "<td>{retention}</td></tr>");
}

fn means(page: &mut String, forgetting: &Forgetting) {
    page.push_str(
        "<table><tr><th>edits since its own</th><th>accuracy</th><th>95 % interval</th><th>n</th></tr>",
    );
    for (age, accuracy) in forgetting.by_age.iter().enumerate() {
        let _ = write!(
            page,
            "<tr><td>{age}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            percent(accuracy.mean),
            accuracy.shares(),
            accuracy.n
        );
    }
    page.push_str(
        "</table><table><tr><th>edits learned</th><th>all contexts so far</th><th>the same, no edit</th>\
         <th>difference, points</th><th>95 % interval</th><th>n</th></tr>",
    );
    for after in &forgetting.by_edits {
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{:+.1}</td><td>{}</td><td>{}</td></tr>",
            after.edits,
            percent(after.accuracy.mean),
            percent(after.unedited.mean),
            after.gain.mean * 100.0,
            after.gain.points(),
            after.gain.n
        );
    }
    page.push_str("</table>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{Estimate, Step};

    #[test]
    fn a_matrix_is_a_triangle_and_names_stay_text() {
        let estimate = Estimate { n: 1, mean: 0.5, low: 0.5, high: 0.5 };
        let step = |edits, accuracy: &[f64]| Step {
            edits,
            accuracy: accuracy.to_vec(),
            retention: Some(0.9),
        };
        let figures = Figures {
            sequences: vec![Sequence {
                stage: "sequence-1".into(),
                contexts: vec!["<b>a".into(), "b".into()],
                unedited: vec![0.0, 0.25],
                steps: vec![step(1, &[1.0]), step(2, &[0.5, 0.75])],
                unedited_retention: None,
                left_out: vec!["<i>c".into()],
            }],
            forgetting: Some(Forgetting { by_age: vec![estimate], by_edits: Vec::new() }),
            ..Figures::default()
        };
        let mut page = String::new();
        matrices(&mut page, &figures);
        assert!(
            page.contains("&lt;b&gt;a") && page.contains("No edit was accepted on &lt;i&gt;c.")
        );
        assert!(
            page.contains(
                "<td>1 edit</td><td style='background:rgba(59,110,168,0.60)'>100.0 %</td><td></td>"
            ),
            "{page}"
        );
        assert!(!page.contains("url(") && !page.contains("<b>"));
    }
}
