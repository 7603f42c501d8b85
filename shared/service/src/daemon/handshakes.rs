//! How many handshakes each address has under way. Who has not shown a certificate may not take the
//! places of those who have.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Clone)]
pub(super) struct Handshakes {
    most: usize,
    under_way: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One of them; over when it is dropped.
pub(super) struct UnderWay {
    of: Handshakes,
    from: IpAddr,
}

impl Handshakes {
    pub(super) fn new(most: usize) -> Self {
        Self { most, under_way: Arc::default() }
    }

    /// Lets one more in, unless this address has its share.
    pub(super) fn enter(&self, from: IpAddr) -> Option<UnderWay> {
        let mut under_way = self.lock();
        let count = under_way.entry(from).or_default();
        (*count < self.most).then(|| {
            *count += 1;
            UnderWay { of: self.clone(), from }
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, usize>> {
        // A count is right after every step.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut under_way = self.of.lock();
        if let Some(count) = under_way.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_anothers_share_and_gets_its_own_back() {
        let handshakes = Handshakes::new(2);
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let first = handshakes.enter(one).unwrap();
        let _second = handshakes.enter(one).unwrap();
        assert!(handshakes.enter(one).is_none());
        let theirs = handshakes.enter(other).unwrap();
        drop(first);
        assert!(handshakes.enter(one).is_some());
        drop(theirs);
        assert!(!handshakes.lock().contains_key(&other), "an address that is gone is forgotten");
    }
}
