//! Promises of the snapshot.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use trinity_protocol::{KeyId, Verifier};

use super::*;
use crate::control::symbols::definition_of;
use crate::market::SymbolTable;
use crate::store::SymbolOrigin;
use crate::tables::keys::Allowed;
use crate::tables::limiter::{KeyState, Limits};

fn snapshot(keys: u64) -> Snapshot {
    let entry = |id: u64| {
        let state = KeyState::default();
        state.set_month_used(id * 3);
        let limits = match id % 3 {
            0 => Limits::NONE,
            1 => Limits::new(Some(7), Some(70), None),
            _ => Limits::new(Some(600_000_000), Some(1), Some(id)),
        };
        let networks = ["10.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().expect("a network"));
        KeyEntry {
            allowed: Allowed::new(
                !id.is_multiple_of(5),
                true,
                if id.is_multiple_of(7) { &networks } else { &[] },
            ),
            ..KeyEntry::new(
                KeyId(id),
                &Verifier::from_bytes([id as u8; 32]),
                limits,
                if id.is_multiple_of(4) { 0 } else { u64::MAX - id },
                Arc::new(state),
            )
        }
    };
    let rows = SymbolTable::builtin_rows();
    let symbols = rows.iter().enumerate().map(|(i, row)| SymbolRecord {
        id: i as i64 + 1,
        definition: definition_of(row),
        retired_at_ns: (i.is_multiple_of(9)).then_some(77),
        origin: if i.is_multiple_of(2) {
            SymbolOrigin::Builtin
        } else {
            SymbolOrigin::Operator
        },
        updated_at_ns: i as u64,
    });
    Snapshot {
        keys: KeyTable::new((1..=keys).map(entry).collect()),
        month: 1_698_796_800,
        parameters: vec![
            ("clock.window_ms".into(), "1500".into()),
            ("odd".into(), "\u{0}'".into()),
        ],
        symbols: symbols.collect(),
        at_ns: 1_700_000_000_000_000_123,
    }
}

/// Everything of a key that can be compared.
fn told(keys: &KeyTable) -> Vec<impl PartialEq + std::fmt::Debug + use<>> {
    let mut told: Vec<_> = keys
        .iter()
        .map(|key| {
            (
                key.key_id.0,
                (*key.request.as_bytes(), *key.reply.as_bytes(), key.mark),
                (key.limits, key.refused_from_ns, key.allowed.clone()),
                key.state.month_used(),
            )
        })
        .collect();
    told.sort_by_key(|key| key.0);
    told
}

#[test]
fn what_was_written_is_what_is_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = path_in(dir.path());
    assert!(read(&path).expect("nothing is no error").is_none());
    for keys in [0, 1, 2 * KEYS_PER_PART as u64 + 3] {
        let written = snapshot(keys);
        write(&path, &written).expect("written");
        let found = read(&path).expect("readable").expect("there");
        assert_eq!(told(&found.keys), told(&written.keys));
        assert_eq!((found.month, found.at_ns), (written.month, written.at_ns));
        assert_eq!(found.parameters, written.parameters);
        assert_eq!(found.symbols, written.symbols);
    }
    let mode = fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "for its owner only");
    assert_eq!(
        fs::read_dir(dir.path()).expect("readable").count(),
        1,
        "no draft is left"
    );
}

#[test]
fn every_damage_is_noticed_and_the_file_is_kept_under_another_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = path_in(dir.path());
    write(&path, &snapshot(50)).expect("written");
    let whole = fs::read(&path).expect("readable");
    let mut damaged: Vec<Vec<u8>> = (0..whole.len())
        .step_by(41)
        .map(|at| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            bytes
        })
        .collect();
    damaged.extend((0..whole.len()).step_by(97).map(|len| whole[..len].to_vec()));
    damaged.push([&whole[..], b"more"].concat());
    damaged.push(vec![0; 4_096]);
    for bytes in damaged {
        fs::write(&path, &bytes).expect("written");
        match read(&path) {
            Err(SnapshotError::Damaged(_) | SnapshotError::Foreign(_)) => {}
            other => panic!("{} bytes: {:?}", bytes.len(), other.map(|found| found.is_some())),
        }
    }
    let last = fs::read(&path).expect("there");
    let first = set_aside(&path, 1_700_000_000_000_000_000).expect("set aside");
    assert!(!path.exists());
    assert_eq!(fs::read(&first).expect("there"), last);
    fs::write(&path, b"another").expect("written");
    let second = set_aside(&path, 1_700_000_000_000_000_000).expect("set aside");
    assert_ne!(first, second, "it takes the place of none");
    assert_eq!(fs::read(&first).expect("still there"), last);
}

#[test]
fn one_of_another_format_is_told_apart() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = path_in(dir.path());
    write(&path, &snapshot(1)).expect("written");
    let mut bytes = fs::read(&path).expect("readable");
    bytes[8] = 9;
    fs::write(&path, &bytes).expect("written");
    let error = read(&path).expect_err("not this one's");
    assert!(matches!(error, SnapshotError::Foreign(9)), "{error}");
}
