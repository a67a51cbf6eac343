//! A table in memory, on top of [`Transition::apply`]: it counts what it is asked,
//! fails when told to, and lets another writer go first.

use crate::ended::{Ending, Listed, Reach, Tombstone};
use crate::family::{FamilyId, FamilyRecord, FamilyState, IndexKey, Transition};
use crate::ports::{
    CreateError, CreateFamily, FindFamily, OnceName, ReadEpoch, ReadTombstones, StoreError,
    SubjectIndex, UpdateError, UpdateFamily, UseOnce,
};
use crate::time::UnixTime;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

/// Clones are one table.
#[derive(Clone, Default)]
pub(crate) struct MemoryStore(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    families: BTreeMap<FamilyId, FamilyRecord>,
    index: Vec<(IndexKey, FamilyId)>,
    tombstones: Vec<(IndexKey, Tombstone)>,
    /// What cannot be read as an item.
    damaged: Vec<FamilyId>,
    unreadable_rows: u64,
    used: Vec<OnceName>,
    epoch: UnixTime,
    calls: Calls,
    faults: VecDeque<(Verb, Option<Fault>)>,
    rivals: VecDeque<Transition>,
}

/// What was asked of the table.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Calls {
    pub(crate) find: usize,
    pub(crate) update: usize,
    pub(crate) create: usize,
    pub(crate) once: usize,
    pub(crate) epoch: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verb {
    Find,
    Update,
    Create,
    Once,
    Epoch,
    Tombstone,
    List,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    Throttled,
    Unavailable,
    Malformed,
    /// The write happened, but nobody heard of it.
    AnswerLost,
    /// The write happened, nobody heard of it, and it was sent again.
    SentTwice,
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Throttled => Self::Throttled(super::cause()),
            Fault::Unavailable | Fault::AnswerLost | Fault::SentTwice => {
                Self::Unavailable(super::cause())
            }
            Fault::Malformed => Self::Malformed("state"),
        }
    }
}

impl MemoryStore {
    pub(crate) fn insert(&self, record: FamilyRecord) {
        self.lock().families.insert(record.id, record);
    }

    pub(crate) fn record(&self, id: FamilyId) -> FamilyRecord {
        self.lock().families[&id].clone()
    }

    pub(crate) fn families(&self) -> Vec<FamilyRecord> {
        self.lock().families.values().cloned().collect()
    }

    /// What somebody who can write to the table does.
    pub(crate) fn tamper(&self, id: FamilyId, edit: impl FnOnce(&mut FamilyRecord)) {
        edit(self.lock().families.get_mut(&id).unwrap());
    }

    /// Carries a transition out, uncounted.
    pub(crate) fn carry_out(&self, transition: &Transition) -> bool {
        transition.apply(self.lock().families.get_mut(&transition.family).unwrap())
    }

    pub(crate) fn set_epoch(&self, epoch: u64) {
        self.lock().epoch = UnixTime(epoch);
    }

    /// The item is there, and nobody can read it.
    pub(crate) fn damage(&self, id: FamilyId) {
        self.lock().damaged.push(id);
    }

    /// Every listing has this many rows that name no family.
    pub(crate) fn damage_index(&self, rows: u64) {
        self.lock().unreadable_rows = rows;
    }

    /// Deletes the rows that list a family.
    pub(crate) fn unlist(&self, id: FamilyId) {
        self.lock().index.retain(|(_, each)| *each != id);
    }

    pub(crate) fn index(&self) -> Vec<(IndexKey, FamilyId)> {
        self.lock().index.clone()
    }

    /// The next call of `verb` ends like this.
    pub(crate) fn fail_next(&self, verb: Verb, fault: Fault) {
        self.lock().faults.push_back((verb, Some(fault)));
    }

    /// The next call of `verb` is in order; how those after it end is said next.
    pub(crate) fn pass_next(&self, verb: Verb) {
        self.lock().faults.push_back((verb, None));
    }

    /// Somebody else's write comes just before our next update.
    pub(crate) fn before_next_update(&self, rival: Transition) {
        self.lock().rivals.push_back(rival);
    }

    /// What was asked since this was last asked.
    pub(crate) fn take_calls(&self) -> Calls {
        std::mem::take(&mut self.lock().calls)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap()
    }
}

impl Table {
    fn fault(&mut self, verb: Verb) -> Option<Fault> {
        let at = self.faults.iter().position(|(each, _)| *each == verb)?;
        self.faults.remove(at)?.1
    }

    fn update(&mut self, transition: &Transition) -> Result<(), UpdateError> {
        self.calls.update += 1;
        let fault = self.fault(Verb::Update);
        let happens = |fault: &Fault| matches!(fault, Fault::AnswerLost | Fault::SentTwice);
        if let Some(fault) = fault.filter(|fault| !happens(fault)) {
            return Err(StoreError::from(fault).into());
        }
        if let Some(rival) = self.rivals.pop_front()
            && let Some(record) = self.families.get_mut(&rival.family)
        {
            assert!(rival.apply(record), "the rival was meant to succeed");
        }
        let Some(record) = self.families.get_mut(&transition.family) else {
            return Err(UpdateError::Refused(None));
        };
        let first = transition.apply(record);
        let again = fault == Some(Fault::SentTwice);
        if !first || (again && !transition.apply(record)) {
            return Err(UpdateError::Refused(Some(Box::new(record.clone()))));
        }
        match fault {
            Some(Fault::AnswerLost) => Err(StoreError::from(Fault::AnswerLost).into()),
            _ => Ok(()),
        }
    }

    fn create(
        &mut self,
        family: &FamilyRecord,
        index: &[IndexKey],
        authenticated_at: UnixTime,
    ) -> Result<(), CreateError> {
        self.calls.create += 1;
        let fault = self.fault(Verb::Create);
        if let Some(fault) = fault.filter(|fault| *fault != Fault::AnswerLost) {
            return Err(StoreError::from(fault).into());
        }
        let ended = self.tombstones.iter().any(|(key, tombstone)| {
            key.is_listed() && index.contains(key) && tombstone.ends(authenticated_at, false)
        });
        if ended && family.kind.follows_a_sign_in() {
            return Err(CreateError::Ended);
        }
        assert!(self.families.insert(family.id, family.clone()).is_none());
        let listed = index.iter().filter(|key| key.is_listed());
        self.index
            .extend(listed.map(|key| (key.clone(), family.id)));
        match fault {
            Some(lost) => Err(StoreError::from(lost).into()),
            None => Ok(()),
        }
    }
}

impl FindFamily for MemoryStore {
    async fn find_family(&self, id: &FamilyId) -> Result<Option<FamilyRecord>, StoreError> {
        let found = {
            let mut table = self.lock();
            table.calls.find += 1;
            match table.fault(Verb::Find) {
                Some(fault) => Err(fault.into()),
                None if table.damaged.contains(id) => Err(Fault::Malformed.into()),
                None => Ok(table.families.get(id).cloned()),
            }
        };
        // Others go on between a read and what is done about it.
        tokio::task::yield_now().await;
        found
    }
}

impl UpdateFamily for MemoryStore {
    async fn update_family(&self, transition: &Transition) -> Result<(), UpdateError> {
        let result = self.lock().update(transition);
        tokio::task::yield_now().await;
        result
    }
}

impl CreateFamily for MemoryStore {
    async fn create_family(
        &self,
        family: &FamilyRecord,
        index: &[IndexKey],
        authenticated_at: UnixTime,
    ) -> Result<(), CreateError> {
        self.lock().create(family, index, authenticated_at)
    }
}

impl UseOnce for MemoryStore {
    async fn use_once(&self, name: &OnceName, _: UnixTime) -> Result<bool, StoreError> {
        let mut table = self.lock();
        table.calls.once += 1;
        if let Some(fault) = table.fault(Verb::Once) {
            return Err(fault.into());
        }
        let first = !table.used.contains(name);
        table.used.push(name.clone());
        Ok(first)
    }

    async fn was_used(&self, name: &OnceName) -> Result<bool, StoreError> {
        let mut table = self.lock();
        table.calls.find += 1;
        match table.fault(Verb::Find) {
            Some(fault) => Err(fault.into()),
            None => Ok(table.used.contains(name)),
        }
    }
}

impl ReadEpoch for MemoryStore {
    async fn epoch(&self) -> Result<UnixTime, StoreError> {
        let mut table = self.lock();
        table.calls.epoch += 1;
        match table.fault(Verb::Epoch) {
            Some(fault) => Err(fault.into()),
            None => Ok(table.epoch),
        }
    }
}

impl ReadTombstones for MemoryStore {
    async fn tombstone(&self, names: &[IndexKey]) -> Result<Tombstone, StoreError> {
        let mut table = self.lock();
        if let Some(fault) = table.fault(Verb::Tombstone) {
            return Err(fault.into());
        }
        let told = table.tombstones.iter();
        let told = told.filter(|(key, _)| names.contains(key));
        Ok(told.fold(Tombstone::default(), |all, (_, each)| all.and(*each)))
    }
}

impl SubjectIndex for MemoryStore {
    async fn families_of(&self, key: &IndexKey) -> Listed {
        let mut table = self.lock();
        let found = table.index.iter().filter(|(each, _)| each == key);
        Listed {
            families: found.map(|(_, id)| *id).collect(),
            unreadable: table.unreadable_rows,
            fault: table.fault(Verb::List).map(Into::into),
        }
    }

    async fn end_subject(
        &self,
        key: &IndexKey,
        reach: Reach,
        not_before: UnixTime,
        _: UnixTime,
    ) -> Result<(), StoreError> {
        let offline_not_before = match reach {
            Reach::All => not_before,
            Reach::Online => UnixTime(0),
        };
        let tombstone = Tombstone {
            not_before,
            offline_not_before,
        };
        self.lock().tombstones.push((key.clone(), tombstone));
        Ok(())
    }

    async fn end_unread(&self, id: FamilyId, state: FamilyState) -> Result<Ending, StoreError> {
        let mut table = self.lock();
        table.calls.update += 1;
        if let Some(fault) = table.fault(Verb::Update) {
            return Err(fault.into());
        }
        Ok(match table.families.get_mut(&id) {
            None => Ending::Gone,
            Some(record) if record.state != FamilyState::Active => Ending::Before,
            Some(record) => {
                record.state = state;
                Ending::Now
            }
        })
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryStore")
    }
}
