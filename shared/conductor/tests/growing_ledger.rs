//! Audits of one lane add rows while another lane's verdicts are shown. Both witnesses must still
//! cosign one checkpoint, or the reader would not act on rows that stand in the ledger.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use seal_conductor::client::Client;
use seal_conductor::ledger::show;
use seal_protocol::{
    Cosignature, CosignedCheckpoint, Envelope, LedgerQuestion, LedgerShown, Role, UnixSeconds, path,
};
use seal_service::clock::FixedClock;
use seal_service::endpoint::Endpoint;
use seal_trust::{
    Limits, RootDraft, SigningKey, TrustRoot, TrustedRoot, payload_digest, with_lines,
};
use seal_witness::testing::FakeLedger;
use seal_witness::{LedgerConfig, Witness, route};

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const ORIGIN: &str = "seal.internal/auditor";

fn key(role: Role, number: u8) -> SigningKey {
    SigningKey::from_seed([10 * role as u8 + number + 1; 32])
}

/// Two witnesses must cosign what anybody acts on.
fn root() -> TrustedRoot {
    let root = TrustRoot::first(UnixSeconds(NOW.0 + 1000), Limits::default());
    let roles = [Role::Root, Role::Teacher, Role::Student, Role::Auditor, Role::Ledger];
    let root =
        roles.into_iter().fold(root, |root, role| root.with_key(role, &key(role, 0).public()));
    let witnesses = [1, 2].map(|number| key(Role::Witness, number).public());
    let root = witnesses.iter().fold(root, |root, key| root.with_key(Role::Witness, key));
    let mut draft = RootDraft::new(&root.with_threshold(Role::Witness, 2)).unwrap();
    draft.sign(&key(Role::Root, 0), None).unwrap();
    TrustRoot::open(&draft.to_bytes(), None, NOW).unwrap()
}

fn verdict(number: usize) -> Envelope {
    // Four digits are base64 of three bytes.
    let payload = format!("{number:04}");
    Envelope { payload, payload_type: String::new(), signatures: Vec::new() }
}

/// A ledger that has one more row whenever it is asked.
struct Growing {
    ledger: FakeLedger,
    rows: usize,
    lines: HashMap<u64, Vec<String>>,
}

type Shared = State<Arc<Mutex<Growing>>>;

async fn shown(State(auditor): Shared, Json(question): Json<LedgerQuestion>) -> Json<LedgerShown> {
    let mut auditor = auditor.lock().unwrap();
    auditor.rows += 1;
    let row = verdict(auditor.rows);
    auditor.ledger.append(&row);
    let size = question.at.unwrap_or(auditor.rows as u64);
    let asked = |row: &Envelope| question.verdicts.contains(&payload_digest(row).unwrap());
    let rows: Vec<Envelope> = (1..=auditor.rows).map(verdict).filter(asked).collect();
    let mut shown = auditor.ledger.show_at(size as usize, &question.known, &rows);
    let lines = auditor.lines.entry(size).or_default();
    shown.checkpoint = with_lines(&shown.checkpoint, lines).unwrap();
    Json(shown)
}

async fn cosigned(
    State(auditor): Shared,
    Json(line): Json<Cosignature>,
) -> Json<CosignedCheckpoint> {
    let mut auditor = auditor.lock().unwrap();
    auditor.lines.entry(line.size).or_default().push(line.line);
    Json(CosignedCheckpoint { checkpoint: String::new() })
}

async fn listening(router: Router) -> Client {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::Tcp(listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Client::new(&endpoint)
}

fn witness(state: &Path, number: u8) -> Arc<Witness> {
    let config = LedgerConfig::default();
    let key = Some(key(Role::Witness, number));
    Arc::new(Witness::open(state, root(), config, key, Arc::new(FixedClock::at(NOW))).unwrap())
}

#[tokio::test]
async fn rows_count_for_the_last_reader_though_the_ledger_grows_between_the_showings() {
    let mut ledger = FakeLedger::new(key(Role::Ledger, 0), ORIGIN);
    (1..=3).for_each(|row| ledger.append(&verdict(row)));
    let growing = Growing { ledger, rows: 3, lines: HashMap::new() };
    let auditor = Router::new()
        .route(path::LEDGER, post(shown))
        .route(path::COSIGNATURES, post(cosigned))
        .with_state(Arc::new(Mutex::new(growing)));
    let auditor = listening(auditor).await;
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (one, other) = (witness(folders[0].path(), 1), witness(folders[1].path(), 2));
    let readers = [listening(route(one.clone())).await, listening(route(other.clone())).await];

    show(&[&auditor], &[&readers[0], &readers[1]], &[verdict(2)]).await.unwrap();
    other.demand_shown(&[verdict(2)]).unwrap();
    assert_eq!((one.known().unwrap()[0].size, other.known().unwrap()[0].size), (4, 4));
    assert!(other.demand_shown(&[verdict(1)]).is_err(), "only what was asked for was shown");

    // Whichever acts next is shown last, from where each stands.
    show(&[&auditor], &[&readers[1], &readers[0]], &[verdict(5)]).await.unwrap();
    one.demand_shown(&[verdict(5)]).unwrap();
    assert_eq!((one.known().unwrap()[0].size, other.known().unwrap()[0].size), (6, 6));
}
