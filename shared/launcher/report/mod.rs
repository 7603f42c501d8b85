//! `report.html`: one self-contained file that shows what a run did.
//!
//! **Absent:** scripts, external addresses, texts of contexts or τ.

mod forgetting;
mod svg;

use std::fmt::Write;

use crate::figures::{Consolidation, Estimate, Figures, Funnel, VOTED};
use crate::text::percent;
use svg::escape;

const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1c2430;--soft:#5d6b7e;--line:#d9dfe8;--bar:#3b6ea8;--warm:#c4622d;--page:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#e4e9f0;--soft:#9aa7b8;--line:#36404e;--bar:#7aa9dd;--warm:#e89562;--page:#151a21}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);max-width:52rem;margin:2.5rem auto;padding:0 1.2rem}
h1{font-size:1.5rem;margin:0 0 .2rem}h2{font-size:1.1rem;margin:2.2rem 0 .5rem}p.note{color:var(--soft);margin:.2rem 0 .8rem}
table{border-collapse:collapse;width:100%;margin:.6rem 0 1.2rem;font-variant-numeric:tabular-nums}th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{text-align:left}th{font-weight:600;color:var(--soft)}
svg{width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:var(--ink)}.tick{text-anchor:middle;fill:var(--soft)!important}
.label{text-anchor:end}.bar{fill:var(--bar)}.interval{stroke:var(--ink);fill:none;stroke-width:1.3}.grid{stroke:var(--line)}
.line{fill:none;stroke-width:2}.line.s0{stroke:var(--bar)}.line.s1{stroke:var(--warm)}.dot.s0{fill:var(--bar)}.dot.s1{fill:var(--warm)}
.heat td{text-align:center}.heat td:first-child{text-align:left}
svg text.series.s0{fill:var(--bar)}svg text.series.s1{fill:var(--warm)}
";

/// The page.
pub(crate) fn html(figures: &Figures) -> String {
    let mut page = format!(
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><meta name='viewport' content='width=device-width'>\
         <title>SEAL run report</title><style>{STYLE}</style></head><body><h1>SEAL run report</h1>\
         <p class='note'>Seed {}, selection “{}”. Intervals are 95 %, bootstrap over contexts.</p>",
        figures.seed,
        escape(&figures.selection)
    );
    if !figures.labels.is_gold() {
        let _ = write!(page, "<p class='note'><strong>{VOTED}</strong></p>");
    }
    accuracy(&mut page, figures);
    rewards(&mut page, &figures.funnels);
    funnel(&mut page, &figures.funnels);
    forgetting::matrices(&mut page, figures);
    if let Some(consolidation) = &figures.consolidation {
        consolidated(&mut page, consolidation);
    }
    page + "</body></html>\n"
}

fn accuracy(page: &mut String, figures: &Figures) {
    if figures.conditions.is_empty() {
        return;
    }
    let rows: Vec<(String, Estimate)> =
        figures.conditions.iter().map(|arm| (arm.label.clone(), arm.accuracy)).collect();
    let n = rows[0].1.n;
    let _ = write!(
        page,
        "<h2>Accuracy on unseen contexts</h2><p class='note'>Questions about {n} contexts that no policy \
         learned from, answered without the context. One self-edit each.</p>{}",
        svg::bars("Accuracy per condition", &rows)
    );
    page.push_str("<table><tr><th>condition</th><th>accuracy</th><th>95 % interval</th><th>retention</th><th>lines per edit</th></tr>");
    for arm in &figures.conditions {
        let retention = arm.retention.map_or_else(|| "–".into(), percent);
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{retention}</td><td>{:.1}</td></tr>",
            escape(&arm.label),
            percent(arm.accuracy.mean),
            arm.accuracy.shares(),
            arm.lines_per_edit
        );
    }
    page.push_str("</table>");
    page.push_str(
        "<table><tr><th>paired difference</th><th>points</th><th>95 % interval</th><th>n</th></tr>",
    );
    for difference in &figures.differences {
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{:+.1}</td><td>{}</td><td>{}</td></tr>",
            escape(&difference.label),
            difference.gain.mean * 100.0,
            difference.gain.points(),
            difference.gain.n
        );
    }
    page.push_str("</table>");
}

fn rewards(page: &mut String, funnels: &[Funnel]) {
    let rounds: Vec<&Funnel> =
        funnels.iter().filter(|funnel| funnel.stage.starts_with("round-")).collect();
    if rounds.is_empty() {
        return;
    }
    let names: Vec<String> = rounds.iter().map(|funnel| funnel.stage.clone()).collect();
    let mean = rounds.iter().map(|funnel| funnel.mean_reward).collect();
    let best = rounds.iter().map(|funnel| funnel.best_reward).collect();
    let _ = write!(
        page,
        "<h2>Reward per round</h2><p class='note'>Accuracy on the reward split after the inner update: \
         mean over all edits, and over the best of each group.</p>{}",
        svg::lines("Reward per round", &names, &[("mean of all", mean), ("best of group", best)])
    );
}

fn funnel(page: &mut String, funnels: &[Funnel]) {
    page.push_str(
        "<h2>What became of the edits</h2><table><tr><th>stage</th><th>proposed</th><th>accepted</th><th>not the best</th><th>refused, first rule</th></tr>",
    );
    for funnel in funnels {
        let reasons: Vec<String> = funnel
            .refused
            .iter()
            .map(|(rule, count)| format!("{count} × {}", escape(rule)))
            .collect();
        let reasons = if reasons.is_empty() { "none".into() } else { reasons.join("<br>") };
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{reasons}</td></tr>",
            escape(&funnel.stage),
            funnel.proposed,
            funnel.accepted,
            funnel.not_selected
        );
    }
    page.push_str("</table>");
    for funnel in funnels {
        if let Some(said) = funnel.signal.said() {
            let _ = write!(page, "<p class='note'>{}: {said}.</p>", escape(&funnel.stage));
        }
    }
}

fn consolidated(page: &mut String, consolidation: &Consolidation) {
    let verdict = if consolidation.accepted {
        "accepted".to_owned()
    } else {
        format!("refused: {}", escape(&consolidation.reasons.join(", ")))
    };
    let _ = write!(
        page,
        "<h2>One adapter for all accepted contexts</h2><table>\
         <tr><th>contexts</th><th>accuracy, base → adapter</th><th>retention, base → adapter</th><th>verdict</th></tr>\
         <tr><td>{}</td><td>{} → {} [{}]</td><td>{} → {}</td><td>{verdict}</td></tr></table>",
        consolidation.contexts,
        percent(consolidation.base_accuracy),
        percent(consolidation.accuracy.mean),
        consolidation.accuracy.shares(),
        percent(consolidation.base_retention),
        percent(consolidation.retention)
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Signal;

    #[test]
    fn a_run_whose_labels_were_voted_says_so_on_its_page() {
        let voted = Figures { labels: seal_protocol::Labels::Majority, ..Figures::default() };
        assert!(html(&voted).contains(VOTED));
        assert!(!html(&Figures::default()).contains(VOTED));
    }

    #[test]
    fn the_page_loads_nothing_and_holds_no_raw_peer_text() {
        let figures = Figures {
            funnels: vec![Funnel {
                stage: "round-1".into(),
                proposed: 5,
                accepted: 1,
                not_selected: 2,
                refused: vec![("<b>rule".into(), 2)],
                mean_reward: 0.4,
                best_reward: 0.6,
                accepted_confirmation: None,
                random_confirmation: None,
                signal: Signal { groups: 3, without: 2, skipped: 1 },
            }],
            ..Figures::default()
        };
        let page = html(&figures);
        assert!(page.contains("2 × &lt;b&gt;rule"), "{page}");
        assert!(page.contains("2 of 3 groups without signal"), "{page}");
        for forbidden in ["<script", "src=", "href=", "@import", "url("] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
    }
}
