//! Keys, DSSE, trust root, verification, tree and checkpoint proofs
