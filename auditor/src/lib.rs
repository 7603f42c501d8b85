//! The auditor measures, decides and signs
