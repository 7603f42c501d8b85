//! The round: a pure state machine and its driver
