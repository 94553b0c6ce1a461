//! The alarms' memory: their states and what became of them. Evaluates no alarm; states are opaque here.

use std::sync::Arc;

use rusqlite::{Connection, params};

use crate::{
    backend::{Result, embedded::store::Store},
    engine::time::Timestamp,
};

/// Transitions kept an alarm; the oldest go first.
pub const HISTORY: u32 = 1_000;

/// The state of one alarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAlarm {
    /// Its name.
    pub name: String,
    /// The evaluator's encoding; empty: forget this alarm, its history remains.
    pub state: Vec<u8>,
    /// When it was evaluated.
    pub updated: Timestamp,
}

/// One transition of one alarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The alarm.
    pub alarm: String,
    /// When it happened.
    pub at: Timestamp,
    /// The state before, `OK`, `ALARM` or `INSUFFICIENT_DATA`.
    pub from: String,
    /// The state after.
    pub to: String,
    /// Why, in words.
    pub reason: String,
    /// More of it, as JSON.
    pub detail: String,
}

/// Keeps alarms in the file.
#[derive(Clone, Debug)]
pub struct AlarmStore {
    store: Arc<Store>,
}

impl AlarmStore {
    pub(super) const fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// Every alarm's state, by name.
    ///
    /// # Errors
    /// What the file gives.
    pub async fn load(&self) -> Result<Vec<StoredAlarm>> {
        self.store
            .read(|conn| {
                let mut statement =
                    conn.prepare_cached("SELECT name, state, updated FROM alarm_state ORDER BY name")?;
                let rows = statement.query_map([], |row| {
                    Ok(StoredAlarm {
                        name: row.get(0)?,
                        state: row.get(1)?,
                        updated: Timestamp::from_millis(row.get(2)?),
                    })
                })?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    /// Replaces states and appends transitions, in one transaction.
    ///
    /// # Errors
    /// What the file gives; nothing was changed then.
    pub async fn save(&self, states: Vec<StoredAlarm>, transitions: Vec<Transition>) -> Result<()> {
        self.store
            .write(0, move |tx| {
                for state in &states {
                    put_state(tx.conn, state)?;
                }
                for transition in &transitions {
                    put_transition(tx.conn, transition)?;
                }
                Ok(())
            })
            .await
    }

    /// Transitions since `since`, in the order they were saved.
    ///
    /// # Errors
    /// What the file gives.
    pub async fn history(&self, since: Timestamp) -> Result<Vec<Transition>> {
        self.store
            .read(move |conn| {
                let mut statement = conn.prepare_cached(
                    "SELECT name, at, previous, next, reason, detail FROM alarm_history WHERE at >= ?1 ORDER BY id",
                )?;
                let rows = statement.query_map([since.as_millis()], |row| {
                    Ok(Transition {
                        alarm: row.get(0)?,
                        at: Timestamp::from_millis(row.get(1)?),
                        from: row.get(2)?,
                        to: row.get(3)?,
                        reason: row.get(4)?,
                        detail: row.get(5)?,
                    })
                })?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }
}

fn put_state(conn: &Connection, alarm: &StoredAlarm) -> rusqlite::Result<()> {
    if alarm.state.is_empty() {
        conn.prepare_cached("DELETE FROM alarm_state WHERE name = ?1")?.execute([&alarm.name])?;
        return Ok(());
    }
    conn.prepare_cached(
        "INSERT INTO alarm_state(name, updated, state) VALUES(?1, ?2, ?3) \
         ON CONFLICT DO UPDATE SET updated = excluded.updated, state = excluded.state",
    )?
    .execute(params![alarm.name, alarm.updated.as_millis(), alarm.state])?;
    Ok(())
}

fn put_transition(conn: &Connection, transition: &Transition) -> rusqlite::Result<()> {
    let Transition { alarm, at, from, to, reason, detail } = transition;
    conn.prepare_cached(
        "INSERT INTO alarm_history(name, at, previous, next, reason, detail) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![alarm, at.as_millis(), from, to, reason, detail])?;
    conn.prepare_cached(
        "DELETE FROM alarm_history WHERE name = ?1 AND id <= \
         (SELECT id FROM alarm_history WHERE name = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
    )?
    .execute(params![alarm, HISTORY])?;
    Ok(())
}
