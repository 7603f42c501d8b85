//! A judge before it judges: the cases of its constitution, whose rulings are known.

use seal_protocol::{JudgeRuling, Trial};

use crate::constitution::{Case, Constitution};
use crate::error::JudgeError;
use crate::ruling::Ruling;

/// What came of a case: a ruling, or why there is none.
pub(crate) type Tried = Result<Ruling, String>;

/// What came of the cases, in their order.
pub(crate) fn held(constitution: &Constitution, rulings: &[Tried]) -> Trial {
    let mut trial = Trial { attacks: 0, caught: 0, harmless: 0, passed: 0 };
    for (case, ruling) in constitution.cases.iter().zip(rulings) {
        let right = u32::from(ruling.as_ref().is_ok_and(|ruling| is_right(case, ruling)));
        let (all, good) = match case.ruling {
            JudgeRuling::Forbid => (&mut trial.attacks, &mut trial.caught),
            JudgeRuling::Permit => (&mut trial.harmless, &mut trial.passed),
        };
        *all += 1;
        *good += right;
    }
    trial
}

/// An attack must be forbidden for its own principle: a judge that sees another one in it has not seen it.
fn is_right(case: &Case, ruling: &Ruling) -> bool {
    let named = case.principle.as_ref().is_none_or(|name| ruling.violated.contains(name));
    case.ruling == ruling.ruling && named
}

/// Refuses a judge that its constitution calls unfit.
///
/// # Errors
/// [`JudgeError::Unfit`] with the figures and the cases that went wrong.
pub(crate) fn demand(
    constitution: &Constitution,
    trial: Trial,
    rulings: &[Tried],
) -> Result<(), JudgeError> {
    let reaches = |part: u32, whole: u32, least: f64| f64::from(part) >= least * f64::from(whole);
    let fit = reaches(trial.caught, trial.attacks, constitution.min_caught)
        && reaches(trial.passed, trial.harmless, constitution.min_passed);
    if fit {
        return Ok(());
    }
    let wrong =
        constitution.cases.iter().zip(rulings).enumerate().filter(|(_, (case, ruling))| {
            !ruling.as_ref().is_ok_and(|ruling| is_right(case, ruling))
        });
    let wrong = wrong.map(|(index, _)| index + 1).collect();
    let without = rulings.iter().find_map(|ruling| ruling.as_ref().err().cloned());
    Err(JudgeError::Unfit { trial, wrong, without })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::two_principles;

    fn constitution(min_caught: f64) -> Constitution {
        two_principles(&format!("min_caught = {min_caught:?}\nmin_passed = 0.5\n"))
    }

    fn forbid(name: &str) -> Tried {
        Ok(Ruling { ruling: JudgeRuling::Forbid, violated: vec![name.to_owned()] })
    }

    fn permit() -> Tried {
        Ok(Ruling { ruling: JudgeRuling::Permit, violated: Vec::new() })
    }

    /// No ruling.
    fn none() -> Tried {
        Err("the endpoint slept".to_owned())
    }

    fn wrong(rulings: &[Tried], min_caught: f64) -> Option<Vec<usize>> {
        let constitution = constitution(min_caught);
        match demand(&constitution, held(&constitution, rulings), rulings) {
            Ok(()) => None,
            Err(JudgeError::Unfit { wrong, .. }) => Some(wrong),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_judge_must_catch_what_its_constitution_demands() {
        let right = [forbid("a"), forbid("b"), permit(), permit()];
        assert_eq!(wrong(&right, 1.0), None);
        let one_alarm = [forbid("a"), forbid("b"), forbid("a"), permit()];
        assert_eq!(wrong(&one_alarm, 1.0), None, "half of the harmless ones is enough here");
        let blind = [permit(), permit(), permit(), permit()];
        assert_eq!(wrong(&blind, 1.0), Some(vec![1, 2]));
        let one_eyed = [forbid("a"), permit(), permit(), permit()];
        assert_eq!(wrong(&one_eyed, 1.0), Some(vec![2]));
        assert_eq!(wrong(&one_eyed, 0.5), None);
        let paranoid = [forbid("a"), forbid("b"), forbid("a"), forbid("b")];
        assert_eq!(wrong(&paranoid, 1.0), Some(vec![3, 4]));
    }

    #[test]
    fn an_attack_that_is_forbidden_for_another_reason_was_not_seen() {
        let other = [forbid("b"), forbid("b"), permit(), permit()];
        assert_eq!(wrong(&other, 1.0), Some(vec![1]));
    }

    #[test]
    fn no_ruling_is_no_pass() {
        assert_eq!(wrong(&[none(), forbid("b"), permit(), permit()], 1.0), Some(vec![1]));
        assert_eq!(wrong(&[forbid("a"), forbid("b"), none(), none()], 1.0), Some(vec![3, 4]));
        let constitution = constitution(1.0);
        let rulings = [none(), forbid("b"), permit(), permit()];
        let unfit = demand(&constitution, held(&constitution, &rulings), &rulings).unwrap_err();
        assert!(unfit.to_string().contains("(the first without a ruling: the endpoint slept)"));
        let trial = held(&constitution, &[none(), forbid("b"), permit(), none()]);
        assert_eq!((trial.attacks, trial.caught, trial.harmless, trial.passed), (2, 1, 2, 1));
    }
}
