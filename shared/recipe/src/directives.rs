//! Update directives of an edit, brought within the student's own limits.
//!
//! **Invariant:** pure; an edit can never train harder, longer or wider than the config allows.

use seal_protocol::{Directives, Nano};
use serde::{Deserialize, Serialize};

use crate::update::UpdateRecipe;

/// `[directives]` of `student.toml`: how far an edit may move the recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectiveLimits {
    /// What happens to a directive beyond a limit.
    pub beyond_limit: BeyondLimit,
    /// Smallest and largest peak learning rate.
    pub learning_rate: [f64; 2],
    /// Fewest and most passes over the examples.
    pub epochs: [u32; 2],
    /// Smallest and largest LoRA rank.
    pub lora_rank: [u32; 2],
}

/// What happens to a directive beyond a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BeyondLimit {
    /// The nearest allowed value is taken.
    Clamp,
    /// The edit is refused.
    Refuse,
}

/// A directive that the student does not follow.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DirectiveError {
    /// Beyond a limit, and the config says refuse.
    #[error("directive `{name}` = {asked} is outside {low}..={high}, which `[directives]` allows")]
    BeyondLimit {
        /// Which directive.
        name: &'static str,
        /// What was asked for.
        asked: f64,
        /// Lower limit.
        low: f64,
        /// Upper limit.
        high: f64,
    },
    /// Zero or less, which is no setting at all.
    #[error("directive `{name}` must be positive")]
    NotPositive {
        /// Which directive.
        name: &'static str,
    },
}

impl DirectiveLimits {
    /// The recipe that an edit with these directives is trained by.
    ///
    /// # Errors
    /// A directive that is not positive, or beyond a limit where the config says refuse.
    pub fn resolve(
        &self,
        recipe: &UpdateRecipe,
        directives: &Directives,
    ) -> Result<UpdateRecipe, DirectiveError> {
        let mut resolved = recipe.clone();
        if let Some(Nano(nano)) = directives.learning_rate_nano {
            let asked = Nano(nano).to_f64();
            resolved.learning_rate = self.within("learning_rate", asked, self.learning_rate)?;
        }
        if let Some(epochs) = directives.epochs {
            let asked = f64::from(epochs);
            let epochs = self.within("epochs", asked, self.epochs.map(f64::from))? as usize;
            match &mut resolved.num_train_epochs {
                Some(passes) => *passes = epochs,
                // Without them an inner update is full-batch: one step is one pass.
                None => resolved.steps = epochs,
            }
        }
        if let Some(rank) = directives.lora_rank {
            let asked = f64::from(rank);
            resolved.r = self.within("lora_rank", asked, self.lora_rank.map(f64::from))? as usize;
        }
        Ok(resolved)
    }

    fn within(
        &self,
        name: &'static str,
        asked: f64,
        [low, high]: [f64; 2],
    ) -> Result<f64, DirectiveError> {
        let is_positive = asked > 0.0;
        if !is_positive {
            return Err(DirectiveError::NotPositive { name });
        }
        match self.beyond_limit {
            BeyondLimit::Clamp => Ok(asked.max(low).min(high)),
            BeyondLimit::Refuse if asked < low || asked > high => {
                Err(DirectiveError::BeyondLimit { name, asked, low, high })
            }
            BeyondLimit::Refuse => Ok(asked),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::tests::recipe;

    fn limits(beyond_limit: BeyondLimit) -> DirectiveLimits {
        DirectiveLimits {
            beyond_limit,
            learning_rate: [1e-4, 1e-2],
            epochs: [1, 20],
            lora_rank: [1, 16],
        }
    }

    fn greedy() -> Directives {
        Directives {
            learning_rate_nano: Some(Nano(1_000_000_000)),
            epochs: Some(10_000),
            lora_rank: Some(512),
            labels: vec!["plan_qa".to_owned()],
        }
    }

    #[test]
    fn without_directives_the_recipe_stands() {
        let limits = limits(BeyondLimit::Refuse);
        let resolved = limits.resolve(&recipe(), &Directives::default());
        assert_eq!(resolved, Ok(recipe()));
    }

    #[test]
    fn passes_stay_passes_where_the_recipe_counts_them() {
        let passes = UpdateRecipe { steps: 0, num_train_epochs: Some(3), ..recipe() };
        let resolved = limits(BeyondLimit::Clamp).resolve(&passes, &greedy()).unwrap();
        assert_eq!((resolved.steps, resolved.num_train_epochs), (0, Some(20)));
    }

    #[test]
    fn a_greedy_edit_gets_the_limits_and_no_more() {
        let resolved = limits(BeyondLimit::Clamp).resolve(&recipe(), &greedy()).unwrap();
        assert_eq!((resolved.learning_rate, resolved.steps, resolved.r), (1e-2, 20, 16));
    }

    #[test]
    fn where_the_config_says_refuse_a_greedy_edit_is_refused() {
        let error = limits(BeyondLimit::Refuse).resolve(&recipe(), &greedy()).unwrap_err();
        assert!(matches!(error, DirectiveError::BeyondLimit { name: "learning_rate", .. }));
    }

    #[test]
    fn a_directive_that_is_not_positive_is_refused_even_where_others_are_clamped() {
        let backwards = Directives { learning_rate_nano: Some(Nano(-5)), ..Directives::default() };
        let error = limits(BeyondLimit::Clamp).resolve(&recipe(), &backwards).unwrap_err();
        assert_eq!(error, DirectiveError::NotPositive { name: "learning_rate" });
    }
}
