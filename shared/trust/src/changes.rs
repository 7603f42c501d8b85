//! What a new version of the trust root changes, line by line, for whoever is to sign it.
//!
//! **Invariant:** documents without a line between them are equal: every field is compared.

use std::collections::BTreeSet;
use std::fmt::Display;

use seal_protocol::{Digest, Role};

use crate::time::when;
use crate::trust_root::{Limits, Pins, RoleKeys, TrustRoot};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// In words.
    pub text: String,
    /// It lets something pass that was refused before. Look twice.
    pub loosens: bool,
}

/// Every change from `old` to `new`; without an old version everything is one.
pub fn changes(old: Option<&TrustRoot>, new: &TrustRoot) -> Vec<Change> {
    let empty = TrustRoot { version: 0, ..TrustRoot::first(new.expires, new.limits.clone()) };
    let mut list = Changes::default();
    list.head(old, new);
    let old = old.unwrap_or(&empty);
    list.roles(old, new);
    list.revocations(old, new);
    list.pins(&old.pins, &new.pins);
    list.limits(&old.limits, &new.limits);
    list.rest(old, new);
    list.0
}

#[derive(Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn add(&mut self, loosens: bool, text: String) {
        self.0.push(Change { text, loosens });
    }

    fn number<T: Display + PartialEq>(&mut self, name: &str, old: T, new: T, loosens: bool) {
        if old != new {
            self.add(loosens, format!("{name}: {old} -> {new}"));
        }
    }

    fn head(&mut self, old: Option<&TrustRoot>, new: &TrustRoot) {
        match old {
            None => {
                self.add(false, format!("first version, expires {}", when(new.expires)));
                self.limits_in_full(&new.limits);
            }
            Some(old) => {
                self.number("version", old.version, new.version, new.version <= old.version);
                let later = new.expires > old.expires;
                self.number("expires", when(old.expires), when(new.expires), later);
            }
        }
    }

    fn roles(&mut self, old: &TrustRoot, new: &TrustRoot) {
        let names: BTreeSet<Role> = old.roles.keys().chain(new.roles.keys()).copied().collect();
        let none = RoleKeys { keyids: Vec::new(), threshold: 0 };
        for role in names {
            let before = old.roles.get(&role).unwrap_or(&none);
            let after = new.roles.get(&role).unwrap_or(&none);
            for keyid in after.keyids.iter().filter(|keyid| !before.keyids.contains(keyid)) {
                self.add(!before.keyids.is_empty(), format!("+ {role} key {keyid}"));
            }
            for keyid in before.keyids.iter().filter(|keyid| !after.keyids.contains(keyid)) {
                self.add(false, format!("- {role} key {keyid}"));
            }
            let fewer = after.threshold < before.threshold;
            let name = format!("{role} keys that must sign");
            self.number(&name, before.threshold, after.threshold, fewer);
        }
    }

    fn revocations(&mut self, old: &TrustRoot, new: &TrustRoot) {
        let from = |root: &TrustRoot, keyid: &str| {
            root.revoked.iter().find(|entry| entry.keyid == keyid).map(|entry| entry.from_sequence)
        };
        let both = old.revoked.iter().chain(&new.revoked).map(|entry| entry.keyid.as_str());
        for keyid in both.collect::<BTreeSet<_>>() {
            match (from(old, keyid), from(new, keyid)) {
                (before, after) if before == after => {}
                (None, Some(0)) => self.add(false, format!("revoked: key {keyid}, altogether")),
                (None, Some(from)) => {
                    self.add(false, format!("revoked: key {keyid} from sequence {from} on"));
                }
                (Some(_), None) => {
                    self.add(true, format!("NO LONGER revoked: key {keyid}"));
                }
                (Some(before), Some(after)) => {
                    let text = format!("revoked: key {keyid} from sequence {before} -> {after}");
                    self.add(after > before, text);
                }
                (None, None) => {}
            }
        }
    }

    fn pins(&mut self, old: &Pins, new: &Pins) {
        let lists = [
            ("base model", &old.base_models, &new.base_models),
            ("policy", &old.policies, &new.policies),
            ("suite", &old.suites, &new.suites),
            ("evaluator", &old.evaluators, &new.evaluators),
        ];
        for (what, before, after) in lists {
            self.pin_list(what, before, after);
        }
    }

    fn pin_list(&mut self, what: &str, before: &[Digest], after: &[Digest]) {
        for digest in after.iter().filter(|digest| !before.contains(digest)) {
            self.add(!before.is_empty(), format!("+ pinned {what} {digest}"));
        }
        for digest in before.iter().filter(|digest| !after.contains(digest)) {
            // A suite that is pinned must be used; every other pin only allows.
            self.add(what == "suite", format!("- pinned {what} {digest}"));
        }
        if after.is_empty() && !before.is_empty() {
            self.add(true, format!("ANY {what} is allowed from here on"));
        }
    }

    fn limits(&mut self, old: &Limits, new: &Limits) {
        let (a, b) = (old, new);
        let mut more = |name: &str, old: u64, new: u64| self.number(name, old, new, new > old);
        more("longest life of a verdict, s", a.verdict_ttl_s, b.verdict_ttl_s);
        more("allowed clock skew, s", a.max_clock_skew_s, b.max_clock_skew_s);
        more("attempts on one tau", a.tau_query_budget, b.tau_query_budget);
        let (x, y) = (a.alpha_micro.to_f64(), b.alpha_micro.to_f64());
        self.number("share of accepts that may be chance", x, y, y > x);
        let (x, y) = (a.min_enforcement, b.min_enforcement);
        let name = "weakest confinement that counts";
        self.number(name, format!("{x:?}"), format!("{y:?}"), y < x);
    }

    fn limits_in_full(&mut self, limits: &Limits) {
        let Limits {
            verdict_ttl_s,
            max_clock_skew_s,
            tau_query_budget,
            alpha_micro,
            min_enforcement,
        } = limits;
        self.add(
            false,
            format!(
                "verdicts live at most {verdict_ttl_s} s, clocks differ by at most {max_clock_skew_s} s, \
                 {tau_query_budget} attempts on one tau, chance accepts at most {}, confinement at \
                 least {min_enforcement:?}",
                alpha_micro.to_f64()
            ),
        );
    }

    /// Whatever no line above spoke of, such as a key that no role lists.
    fn rest(&mut self, old: &TrustRoot, new: &TrustRoot) {
        let named = |root: &TrustRoot, keyid: &str| root.role_of_keyid(keyid).is_some();
        for keyid in new.keys.keys().filter(|keyid| !old.keys.contains_key(*keyid)) {
            if !named(new, keyid) {
                self.add(false, format!("+ key {keyid}, in no role"));
            }
        }
        for keyid in old.keys.keys().filter(|keyid| !new.keys.contains_key(*keyid)) {
            if !named(old, keyid) {
                self.add(false, format!("- key {keyid}, in no role"));
            }
        }
        if old.spec != new.spec {
            self.add(true, format!("format: {:?} -> {:?}", old.spec, new.spec));
        }
        let reordered = old.version != 0 && self.0.is_empty() && old != new;
        if reordered {
            self.add(false, "the order of some list, and nothing else".to_owned());
        }
    }
}
