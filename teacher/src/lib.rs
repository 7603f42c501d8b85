//! The teacher proposes self-edits and learns from signed verdicts
