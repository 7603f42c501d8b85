//! Daemon start-up, confinement, transport, jobs, store helpers, clock
