//! Everybody at once: environments that stop anywhere, a client that plays by the
//! rules, a thief, the authorizer, a revoke, and time. What must never happen is in
//! [`Protocol::properties`].

use super::rules::{Age, Decision, Mutation, PAIRS, PairId, Pairs, Plan, Record, Refresh, Rules};
use stateright::{Model, Property};

pub(super) const ONE_BRANCH: &str = "at most one refresh token is live";
pub(super) const REVOKED_IS_OVER: &str = "nothing works after a revoke has returned";
pub(super) const STAYS_IN: &str = "a client that plays by the rules is never logged out";
pub(super) const REPLAY_REVOKES: &str = "a replay ends the family";
pub(super) const BORN_ALIVE: &str = "no pair is written to a revoked family";

/// What must be possible, or the above would hold of a system that does nothing.
pub(super) const POSSIBLE: [&str; 4] = [
    "a lost answer heals",
    "a thief is caught",
    "all pairs are seen",
    "a quick thief shares a pair unnoticed",
];

/// How many requests to the token function there are at once, at most.
const SLOTS: usize = 3;

/// How the client behaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Client {
    /// Refreshes again only when the request before is over, however it ended.
    OneByOne,
    /// Refreshes as often as it likes at the same time, but a request sees one tick
    /// at most, and a new token waits until the requests with the old one are over.
    Parallel,
    /// The same, and a new token waits for nothing.
    Hasty,
}

/// The system to be checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Protocol {
    pub(super) rules: Rules,
    pub(super) client: Client,
    /// Requests at once, up to [`SLOTS`].
    pub(super) environments: usize,
    /// Pairs of the family, up to [`PAIRS`].
    pub(super) pairs: usize,
    pub(super) thief: bool,
    pub(super) revoke: bool,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct State {
    pub(super) record: Record,
    /// Sorted, because it does not matter which environment does what.
    requests: [Option<Request>; SLOTS],
    access: Option<Access>,
    /// The newest pair that the client has received.
    newest: PairId,
    /// What the thief has.
    loot: Pairs,
    thief_acted: bool,
    revoke: Revoke,
    /// Since when it is known outside that a pair was used.
    known_used: [Option<Age>; PAIRS],
    /// A revoke has returned, or a replay was answered.
    over: bool,
    fault: Option<Fault>,
}

/// What was seen that must not happen.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Fault {
    AcceptedAfterRevoke,
    ReplaySpared,
    BornDead,
}

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Who {
    Client,
    Thief,
}

/// A request to the token function.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Request {
    by: Who,
    token: PairId,
    step: Step,
    /// It began when its token was long over.
    is_replay: bool,
    /// It began when a revoke had returned.
    after_revoke: bool,
    /// Ticks since it began; the client's alone.
    age: Age,
}

/// What comes next. Reading and deciding are one step: time that passes between
/// them might as well pass before the read.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Step {
    Read,
    Write(Plan),
    Revoke,
    Answer(Option<PairId>),
}

/// A request to the authorizer, after its read.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Access {
    pair: PairId,
    first: bool,
    /// Whose sealed pair its write drops.
    drop: Option<PairId>,
    after_revoke: bool,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Revoke {
    NotYet,
    /// With the generation that it read.
    Running(u8),
    Returned,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Action {
    /// The client refreshes, or tries again.
    Refresh,
    /// The thief copies what the client has.
    Steal,
    /// The thief refreshes.
    Replay(PairId),
    /// An environment takes its next step.
    Step(usize),
    /// An environment ends, or its answer gets lost.
    Lose(usize),
    /// An access token is used; the authorizer reads.
    Call(Who, PairId),
    /// The authorizer writes, if this is the first use or it shares a JWT, and answers.
    Accept {
        shares: bool,
    },
    BeginRevoke,
    EndRevoke,
    /// Time passes.
    Tick,
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            record: Record::new(),
            requests: [None; SLOTS],
            access: None,
            newest: 0,
            loot: Pairs::default(),
            thief_acted: false,
            revoke: Revoke::NotYet,
            known_used: [None; PAIRS],
            over: false,
            fault: None,
        }]
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.record.pairs.iter().flatten().count() <= self.pairs
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.fault.is_some() {
            return;
        }
        let room = state.requests.iter().flatten().count() < self.environments;
        if room && self.may_refresh(state) {
            actions.push(Action::Refresh);
        }
        for (slot, request) in state.requests.iter().enumerate() {
            if let Some(request) = request {
                actions.push(Action::Step(slot));
                // What nobody waits for is as good as lost when it is answered.
                if request.by == Who::Client {
                    actions.push(Action::Lose(slot));
                }
            }
        }
        match state.access {
            Some(access) => {
                actions.push(Action::Accept { shares: false });
                if !access.first {
                    actions.push(Action::Accept { shares: true });
                }
            }
            None => actions.push(Action::Call(Who::Client, state.newest)),
        }
        if self.thief {
            if state.loot == Pairs::default() {
                actions.push(Action::Steal);
            }
            for pair in state.loot.iter() {
                if room {
                    actions.push(Action::Replay(pair));
                }
                if state.access.is_none() {
                    actions.push(Action::Call(Who::Thief, pair));
                }
            }
        }
        match state.revoke {
            Revoke::NotYet if self.revoke => actions.push(Action::BeginRevoke),
            Revoke::Running(_) => actions.push(Action::EndRevoke),
            Revoke::NotYet | Revoke::Returned => {}
        }
        if self.may_tick(state) {
            actions.push(Action::Tick);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = *state;
        match action {
            Action::Refresh => next.begin(Who::Client, next.newest, self.rules),
            Action::Steal => next.loot = Pairs::of(next.newest),
            Action::Replay(token) => {
                next.thief_acted = true;
                next.begin(Who::Thief, token, self.rules);
            }
            Action::Step(slot) => next.step(slot, self.rules),
            Action::Lose(slot) => next.requests[slot] = None,
            Action::Call(who, pair) => {
                next.thief_acted |= who == Who::Thief;
                next.call(pair, self.rules);
            }
            Action::Accept { shares } => next.accept(shares, self.rules),
            Action::BeginRevoke => next.revoke = Revoke::Running(next.record.generation),
            Action::EndRevoke => next.end_revoke(self.rules),
            Action::Tick => next.tick(self.rules),
        }
        next.requests.sort_unstable();
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_BRANCH, |_, state: &State| {
                !state.record.active || state.record.live() <= 1
            }),
            Property::always(REVOKED_IS_OVER, |_, state: &State| {
                state.fault != Some(Fault::AcceptedAfterRevoke)
            }),
            Property::always(STAYS_IN, |model: &Self, state: &State| {
                state.thief_acted
                    || state.revoke != Revoke::NotYet
                    || state.admits(state.newest, model.rules)
            }),
            Property::always(REPLAY_REVOKES, |_, state: &State| {
                state.fault != Some(Fault::ReplaySpared)
            }),
            Property::always(BORN_ALIVE, |_, state: &State| {
                state.fault != Some(Fault::BornDead)
            }),
            Property::sometimes(POSSIBLE[0], |model, state: &State| state.heals(model.rules)),
            Property::sometimes(POSSIBLE[1], |model: &Self, state: &State| {
                !model.thief || (state.over && state.revoke == Revoke::NotYet)
            }),
            Property::sometimes(POSSIBLE[2], Self::is_full),
            Property::sometimes(POSSIBLE[3], |model: &Self, state: &State| {
                !model.thief || (state.shares_with_thief() && !state.over)
            }),
        ]
    }
}

impl Protocol {
    fn may_refresh(&self, state: &State) -> bool {
        let mut mine = state.clients();
        match self.client {
            Client::OneByOne => mine.next().is_none(),
            Client::Parallel => mine.all(|request| request.token == state.newest),
            Client::Hasty => true,
        }
    }

    fn is_full(&self, state: &State) -> bool {
        state.record.pairs.iter().flatten().count() == self.pairs
    }

    /// A client that does several things at once relies on each being over soon.
    fn may_tick(&self, state: &State) -> bool {
        self.client == Client::OneByOne || state.clients().all(|request| request.age == 0)
    }
}

impl State {
    fn clients(&self) -> impl Iterator<Item = &Request> {
        let requests = self.requests.iter().flatten();
        requests.filter(|request| request.by == Who::Client)
    }

    /// Whether a refresh with this token would succeed now.
    fn admits(&self, token: PairId, rules: Rules) -> bool {
        let decision = self.record.decide(token, rules);
        self.record.active && matches!(decision, Decision::Rotate(_) | Decision::Heal(_))
    }

    /// Whether the client is about to get a pair that was lost.
    fn heals(&self, rules: Rules) -> bool {
        self.clients().any(|request| {
            request.step == Step::Read
                && matches!(self.record.decide(request.token, rules), Decision::Heal(_))
        })
    }

    /// Whether both have a pair that was made after the theft.
    fn shares_with_thief(&self) -> bool {
        let newest = self.newest;
        newest > 0 && self.loot.has(newest) && self.loot != Pairs::of(newest)
    }

    fn begin(&mut self, by: Who, token: PairId, rules: Rules) {
        let mut request = Request {
            by,
            token,
            step: Step::Read,
            is_replay: self.is_replay(token, rules),
            after_revoke: self.over,
            age: 0,
        };
        // The thief is in no hurry: reading late is asking late.
        if by == Who::Thief {
            request.step = self.read(token, rules);
        }
        self.go_on(request);
    }

    /// Waits for the next step. What the thief would wait to be told, it might as
    /// well know at once.
    fn go_on(&mut self, request: Request) {
        if let (Who::Thief, Step::Answer(pair)) = (request.by, request.step) {
            return self.answer(request, pair);
        }
        let free = self.requests.iter_mut().find(|slot| slot.is_none());
        *free.unwrap() = Some(request);
    }

    /// Whether everybody can know that this token is over: its pair is in use, and
    /// the window has passed, or it is of an older generation.
    fn is_replay(&self, token: PairId, rules: Rules) -> bool {
        match self.record.pair(token).map(|pair| pair.refresh) {
            Some(Refresh::Used { at, successor }) => {
                let used = self.known_used[usize::from(successor)];
                let since = |used: Age| if rules.window_from_use { used } else { at };
                used.is_some_and(|used| rules.is_over(since(used)))
            }
            Some(Refresh::Outlived | Refresh::Dropped) => true,
            Some(Refresh::Live) | None => false,
        }
    }

    fn read(&self, token: PairId, rules: Rules) -> Step {
        match self.record.decide(token, rules) {
            Decision::Rotate(plan) => Step::Write(plan),
            Decision::Heal(pair) => Step::Answer(Some(pair)),
            Decision::Reused => Step::Revoke,
            Decision::Revoked | Decision::Unknown => Step::Answer(None),
        }
    }

    fn step(&mut self, slot: usize, rules: Rules) {
        let Some(mut request) = self.requests[slot].take() else {
            return;
        };
        request.step = match request.step {
            Step::Read => self.read(request.token, rules),
            Step::Write(plan) => {
                let alive = self.record.active;
                match self.record.rotate(plan, rules) {
                    Some(pair) => {
                        self.know_used(request.token);
                        if !alive {
                            self.fault = Some(Fault::BornDead);
                        }
                        Step::Answer(Some(pair))
                    }
                    // What is there now decides.
                    None => self.read(request.token, rules),
                }
            }
            Step::Revoke => {
                if rules.hold(Mutation::ReuseRevokes) {
                    self.record.active = false;
                }
                Step::Answer(None)
            }
            Step::Answer(pair) => return self.answer(request, pair),
        };
        self.go_on(request);
    }

    fn answer(&mut self, request: Request, pair: Option<PairId>) {
        let Some(pair) = pair else {
            if request.is_replay && self.record.active {
                self.fault = Some(Fault::ReplaySpared);
            }
            self.over |= !self.record.active;
            return;
        };
        if request.is_replay {
            self.fault = Some(Fault::ReplaySpared);
        }
        if request.after_revoke {
            self.fault = Some(Fault::AcceptedAfterRevoke);
        }
        match request.by {
            // An answer that comes late does not replace a newer pair.
            Who::Client => self.newest = self.newest.max(pair),
            Who::Thief => self.loot = self.loot.with(Pairs::of(pair)),
        }
    }

    fn call(&mut self, pair: PairId, rules: Rules) {
        if !self.record.active && rules.hold(Mutation::ActiveWhenRead) {
            return;
        }
        self.access = Some(Access {
            pair,
            first: self
                .record
                .pair(pair)
                .is_some_and(|pair| pair.access_used.is_none()),
            drop: self.record.outlived(pair, rules),
            after_revoke: self.over,
        });
    }

    fn accept(&mut self, shares: bool, rules: Rules) {
        let Some(access) = self.access.take() else {
            return;
        };
        let writes = shares || (access.first && rules.hold(Mutation::FirstUseNoted));
        let noted = !writes || self.record.note_use(access.pair, access.drop, rules);
        if noted {
            self.know_used(access.pair);
            if access.after_revoke {
                self.fault = Some(Fault::AcceptedAfterRevoke);
            }
        }
    }

    fn know_used(&mut self, pair: PairId) {
        self.known_used[usize::from(pair)].get_or_insert(0);
    }

    fn end_revoke(&mut self, rules: Rules) {
        if let Revoke::Running(generation) = self.revoke {
            let wins = rules.hold(Mutation::RevokeWins) || generation == self.record.generation;
            if wins {
                self.record.active = false;
            }
            self.revoke = Revoke::Returned;
            self.over = true;
        }
    }

    fn tick(&mut self, rules: Rules) {
        self.record.tick(rules);
        for request in self.requests.iter_mut().flatten() {
            if request.by == Who::Client {
                request.age = rules.older(request.age);
            }
            if let Step::Write(plan) = &mut request.step {
                plan.at = rules.older(plan.at);
            }
        }
        if rules.window_from_use {
            for age in self.known_used.iter_mut().flatten() {
                *age = rules.older(*age);
            }
        }
    }
}
