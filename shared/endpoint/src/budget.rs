//! What a run may cost, in tokens and in money.
//!
//! **Invariant:** pure. A request leaves only if everything that was paid, everything that is under
//! way at its highest price, and this request at its highest price fit the budget. So the budget can
//! be passed only by an endpoint that reads more tokens than we estimate or writes more than we allow.

use std::collections::BTreeMap;

use crate::egress::{EgressRow, Spent};

/// Bytes of prompt that are taken for one token: low, so that the estimate is high.
const BYTES_PER_TOKEN: u64 = 3;
/// Tokens that a conversation's frame may add.
const FRAME: u64 = 16;

/// Price of a million tokens, in the config's currency.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Prices {
    pub(crate) input_per_million: f64,
    pub(crate) output_per_million: f64,
}

impl Prices {
    /// What so many tokens cost. A price per million is a price in millionths per token.
    pub(crate) fn cost(&self, input_tokens: u64, output_tokens: u64) -> Spent {
        let cost = input_tokens as f64 * self.input_per_million
            + output_tokens as f64 * self.output_per_million;
        Spent { input_tokens, output_tokens, cost_micro: cost.ceil() as u64 }
    }

    /// The most that a request is taken to cost.
    pub(crate) fn most(&self, prompt_bytes: usize, max_tokens: usize) -> Spent {
        let input = (prompt_bytes as u64).div_ceil(BYTES_PER_TOKEN) + FRAME;
        self.cost(input, max_tokens as u64)
    }
}

/// Upper bounds; absent ones do not bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) tokens: Option<u64>,
    pub(crate) cost_micro: Option<u64>,
}

/// Whether a request may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    /// It may, and its price is reserved.
    Granted,
    /// Not before another one has ended, which may turn out cheaper than reserved.
    Wait,
    /// Never.
    Over,
}

/// Paid and reserved.
#[derive(Debug)]
pub(crate) struct Budget {
    bounds: Bounds,
    paid: Spent,
    reserved: Spent,
    under_way: u32,
}

impl Budget {
    /// Goes on from what the record says was paid; a request whose end is not recorded counts at its
    /// highest price.
    pub(crate) fn after(bounds: Bounds, rows: &[EgressRow]) -> Self {
        let mut open = BTreeMap::new();
        let mut paid = Spent::default();
        for row in rows {
            match row {
                EgressRow::Sent { number, reserved, .. } => drop(open.insert(*number, *reserved)),
                EgressRow::Answered { number, spent, .. } => {
                    open.remove(number);
                    add(&mut paid, spent);
                }
            }
        }
        open.values().for_each(|reserved| add(&mut paid, reserved));
        Self { bounds, paid, reserved: Spent::default(), under_way: 0 }
    }

    /// What was paid until now.
    pub(crate) fn paid(&self) -> Spent {
        self.paid
    }

    /// Asks for room for a request.
    pub(crate) fn reserve(&mut self, most: Spent) -> Grant {
        let mut total = self.paid;
        add(&mut total, &self.reserved);
        add(&mut total, &most);
        let tokens = total.input_tokens.saturating_add(total.output_tokens);
        let fits = self.bounds.tokens.is_none_or(|bound| tokens <= bound)
            && self.bounds.cost_micro.is_none_or(|bound| total.cost_micro <= bound);
        match (fits, self.under_way) {
            (true, _) => {
                add(&mut self.reserved, &most);
                self.under_way += 1;
                Grant::Granted
            }
            (false, 0) => Grant::Over,
            (false, _) => Grant::Wait,
        }
    }

    /// A request is over.
    pub(crate) fn settle(&mut self, most: Spent, spent: Spent) {
        self.reserved.input_tokens = self.reserved.input_tokens.saturating_sub(most.input_tokens);
        self.reserved.output_tokens =
            self.reserved.output_tokens.saturating_sub(most.output_tokens);
        self.reserved.cost_micro = self.reserved.cost_micro.saturating_sub(most.cost_micro);
        self.under_way = self.under_way.saturating_sub(1);
        add(&mut self.paid, &spent);
    }
}

fn add(to: &mut Spent, more: &Spent) {
    to.input_tokens = to.input_tokens.saturating_add(more.input_tokens);
    to.output_tokens = to.output_tokens.saturating_add(more.output_tokens);
    to.cost_micro = to.cost_micro.saturating_add(more.cost_micro);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_at_its_highest_price_must_fit() {
        let bounds = Bounds { tokens: Some(250), cost_micro: None };
        let mut budget = Budget::after(bounds, &[]);
        let most = Prices::default().cost(20, 80);
        assert_eq!(budget.reserve(most), Grant::Granted);
        assert_eq!(budget.reserve(most), Grant::Granted);
        assert_eq!(budget.reserve(most), Grant::Wait);
        budget.settle(most, Prices::default().cost(20, 30));
        assert_eq!(budget.reserve(most), Grant::Granted, "the first was cheaper than reserved");
        budget.settle(most, most);
        budget.settle(most, most);
        assert_eq!(budget.reserve(most), Grant::Over);
        assert_eq!(budget.paid(), Prices::default().cost(60, 190));
    }

    #[test]
    fn money_is_counted_up_in_millionths() {
        let prices = Prices { input_per_million: 0.15, output_per_million: 0.6 };
        assert_eq!(prices.cost(1_000_000, 0).cost_micro, 150_000);
        assert_eq!(prices.cost(1, 1).cost_micro, 1);
        let bounds = Bounds { tokens: None, cost_micro: Some(150_000) };
        let mut budget = Budget::after(bounds, &[]);
        assert_eq!(budget.reserve(prices.cost(1_000_000, 0)), Grant::Granted);
        assert_eq!(budget.reserve(prices.cost(1, 0)), Grant::Wait);
    }

    #[test]
    fn what_has_no_recorded_end_counts_at_its_highest_price() {
        let digest = seal_trust::sha256(b"");
        let sent = |number, reserved| EgressRow::Sent {
            number,
            time: seal_protocol::UnixSeconds(0),
            method: String::new(),
            url: String::new(),
            headers: BTreeMap::new(),
            body_sha256: digest,
            body_bytes: 0,
            body: String::new(),
            purpose: crate::egress::Purpose { context_digest: digest, proposal: 0, attempt: 1 },
            reserved,
            previous: digest,
        };
        let cost = |input, output| Prices::default().cost(input, output);
        let answered = EgressRow::Answered {
            number: 1,
            time: seal_protocol::UnixSeconds(0),
            outcome: "ok".to_owned(),
            detail: String::new(),
            spent: cost(5, 6),
            measured: true,
            previous: digest,
        };
        let rows = [sent(1, cost(10, 100)), answered, sent(2, cost(7, 70))];
        assert_eq!(Budget::after(Bounds::default(), &rows).paid(), cost(12, 76));
    }
}
