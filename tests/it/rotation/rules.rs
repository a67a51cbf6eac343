//! The rotation's rules over an abstract record: what [`cloakroom_domain::issue`]
//! and [`cloakroom_domain::authorize`] decide, with nothing of how tokens look.
//! Each condition can be switched off, to see what it is there for.

/// How many pairs a family of the model may see.
pub(super) const PAIRS: usize = 4;

/// The n-th pair of the family, in the order in which they were written.
pub(super) type PairId = u8;

/// Ticks since something happened, up to the healing window.
pub(super) type Age = u8;

/// A set of pairs.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Pairs(u8);

impl Pairs {
    pub(super) fn of(pair: PairId) -> Self {
        Self(1 << pair)
    }

    pub(super) fn has(self, pair: PairId) -> bool {
        self.0 & Self::of(pair).0 != 0
    }

    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn iter(self) -> impl Iterator<Item = PairId> {
        ids().filter(move |pair| self.has(*pair))
    }
}

/// Every pair there can be.
pub(super) fn ids() -> impl Iterator<Item = PairId> {
    (0..PAIRS).map(|pair| u8::try_from(pair).unwrap())
}

/// A condition that can be switched off.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mutation {
    /// A request that finds the family revoked gets nothing.
    ActiveWhenRead,
    /// A rotation is written only to an active family.
    ActiveWhenWritten,
    /// A rotation is written only if no other came in between.
    Generation,
    /// A rotation is written only while its token is live.
    TokenLive,
    /// For 10 s the same pair is given again, in use or not.
    HealsInWindow,
    /// The same pair is given again as long as it is unused.
    HealsWhileUnused,
    /// A used pair is not given again after the window.
    NotOnceUsed,
    /// A sealed pair is dropped only when the window is over.
    DropsAfterWindow,
    /// A sealed pair is dropped only by the use of that very pair.
    DropsOwnPair,
    /// A reused token revokes.
    ReuseRevokes,
    /// A token of an older generation revokes as well.
    SpentRevokes,
    /// A revoke waits for nothing and loses to nobody.
    RevokeWins,
    /// The first use of an access token is noted before it is answered.
    FirstUseNoted,
    /// The first use is noted only in an active family.
    FirstUseWhileActive,
}

/// The rules, as built but for what is switched off or changed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// What is switched off.
    pub(super) off: &'static [Mutation],
    /// The window begins with the pair's first use instead of with the rotation.
    pub(super) window_from_use: bool,
    /// A used token's entry stays until its window is over.
    pub(super) keeps_entries: bool,
    /// The healing window, in ticks.
    pub(super) window: Age,
}

impl Rules {
    /// What the code does.
    pub(super) const BUILT: Self = Self {
        off: &[],
        window_from_use: false,
        keeps_entries: false,
        window: 2,
    };

    /// Whether something that long ago is out of the window.
    pub(super) fn is_over(self, age: Age) -> bool {
        age >= self.window
    }

    pub(super) fn older(self, age: Age) -> Age {
        (age + 1).min(self.window)
    }

    pub(super) fn hold(self, condition: Mutation) -> bool {
        !self.off.contains(&condition)
    }
}

/// A family.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Record {
    pub(super) active: bool,
    pub(super) generation: u8,
    pub(super) pairs: [Option<Pair>; PAIRS],
    pub(super) spent: Pairs,
}

/// An access token and the refresh token that came with it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Pair {
    pub(super) refresh: Refresh,
    /// When the access token was first used. Ages only where that matters.
    pub(super) access_used: Option<Age>,
}

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Refresh {
    Live,
    Used {
        at: Age,
        successor: PairId,
    },
    /// Used, its window is over, and what was sealed under it is gone.
    Outlived,
    /// Its entry was dropped.
    Dropped,
}

/// What a refresh token is worth.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Decision {
    /// A new pair, if this can be written.
    Rotate(Plan),
    /// The pair that it was redeemed for.
    Heal(PairId),
    /// The end of the family.
    Reused,
    /// Nothing: the family is revoked.
    Revoked,
    /// Nothing.
    Unknown,
}

/// A rotation, decided on but not yet written.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Plan {
    pub(super) token: PairId,
    /// As it was when this was decided.
    pub(super) generation: u8,
    pub(super) drop: Pairs,
    pub(super) spent: Pairs,
    /// When this was decided.
    pub(super) at: Age,
}

impl Record {
    /// A family with its first pair, just redeemed for a code.
    pub(super) fn new() -> Self {
        let mut pairs = [None; PAIRS];
        pairs[0] = Some(Pair::NEW);
        Self {
            active: true,
            generation: 0,
            pairs,
            spent: Pairs::default(),
        }
    }

    pub(super) fn pair(&self, id: PairId) -> Option<Pair> {
        self.pairs[usize::from(id)]
    }

    pub(super) fn pair_mut(&mut self, id: PairId) -> &mut Pair {
        self.pairs[usize::from(id)].as_mut().unwrap()
    }

    /// The number of the next pair, if there is room for one.
    pub(super) fn next_pair(&self) -> Option<PairId> {
        ids().find(|id| self.pair(*id).is_none())
    }

    pub(super) fn live(&self) -> usize {
        let live = |pair: &&Pair| pair.refresh == Refresh::Live;
        self.pairs.iter().flatten().filter(live).count()
    }

    /// What a refresh token is worth, given the family as it is.
    pub(super) fn decide(&self, token: PairId, rules: Rules) -> Decision {
        if !self.active && rules.hold(Mutation::ActiveWhenRead) {
            return Decision::Revoked;
        }
        match self.pair(token).map(|pair| pair.refresh) {
            Some(Refresh::Live) => Decision::Rotate(self.plan(token, rules)),
            Some(Refresh::Used { at, successor }) => self.heal(at, successor, rules),
            Some(Refresh::Outlived) => Decision::Reused,
            Some(Refresh::Dropped)
                if self.spent.has(token) && rules.hold(Mutation::SpentRevokes) =>
            {
                Decision::Reused
            }
            Some(Refresh::Dropped) | None => Decision::Unknown,
        }
    }

    fn heal(&self, at: Age, successor: PairId, rules: Rules) -> Decision {
        let used = self.used(successor, rules);
        let since = if rules.window_from_use {
            used
        } else {
            Some(at)
        };
        let unused = used.is_none() && rules.hold(Mutation::HealsWhileUnused);
        let recent =
            since.is_some_and(|age| !rules.is_over(age)) && rules.hold(Mutation::HealsInWindow);
        if unused || recent || !rules.hold(Mutation::NotOnceUsed) {
            Decision::Heal(successor)
        } else {
            Decision::Reused
        }
    }

    fn plan(&self, token: PairId, rules: Rules) -> Plan {
        let mut drop = Pairs::default();
        for id in ids().filter(|id| *id != token) {
            let over = match self.pair(id).map(|pair| pair.refresh) {
                Some(Refresh::Used { successor, .. }) => self
                    .used(successor, rules)
                    .is_some_and(|age| rules.is_over(age)),
                Some(Refresh::Outlived) => true,
                Some(Refresh::Live | Refresh::Dropped) | None => continue,
            };
            if over || !rules.keeps_entries {
                drop = drop.with(Pairs::of(id));
            }
        }
        Plan {
            token,
            generation: self.generation,
            drop,
            spent: self.spent.with(drop),
            at: 0,
        }
    }

    /// When a pair was first used, by either of its tokens.
    fn used(&self, id: PairId, rules: Rules) -> Option<Age> {
        let pair = self.pair(id)?;
        let refresh = match pair.refresh {
            Refresh::Live => None,
            Refresh::Used { at, .. } => Some(at),
            Refresh::Outlived | Refresh::Dropped => Some(rules.window),
        };
        pair.access_used.max(refresh)
    }

    /// Writes a rotation: the new pair, or `None` if a condition does not hold.
    pub(super) fn rotate(&mut self, plan: Plan, rules: Rules) -> Option<PairId> {
        let token = self.pair(plan.token)?;
        let holds = (self.active || !rules.hold(Mutation::ActiveWhenWritten))
            && (self.generation == plan.generation || !rules.hold(Mutation::Generation))
            && (token.refresh == Refresh::Live || !rules.hold(Mutation::TokenLive));
        if !holds {
            return None;
        }
        let new = self.next_pair()?;
        self.pairs[usize::from(new)] = Some(Pair::NEW);
        self.pair_mut(plan.token).refresh = Refresh::Used {
            at: plan.at,
            successor: new,
        };
        for id in plan.drop.iter() {
            self.pair_mut(id).refresh = Refresh::Dropped;
        }
        self.spent = plan.spent;
        self.generation = plan.generation + 1;
        Some(new)
    }

    /// Whose sealed pair is dropped when the access token of a pair is used, given the
    /// family as it is.
    pub(super) fn outlived(&self, id: PairId, rules: Rules) -> Option<PairId> {
        let used = self.used(id, rules);
        ids().find(|each| match self.pair(*each).map(|pair| pair.refresh) {
            Some(Refresh::Used { at, successor }) => {
                let since = if rules.window_from_use {
                    used
                } else {
                    Some(at)
                };
                let over = since.is_some_and(|age| rules.is_over(age));
                (successor == id || !rules.hold(Mutation::DropsOwnPair))
                    && (over || !rules.hold(Mutation::DropsAfterWindow))
            }
            _ => false,
        })
    }

    /// Writes that an access token is used, and drops a sealed pair; `false` if a
    /// condition does not hold.
    pub(super) fn note_use(&mut self, id: PairId, drop: Option<PairId>, rules: Rules) -> bool {
        let holds = self.active || !rules.hold(Mutation::FirstUseWhileActive);
        if holds {
            self.pair_mut(id).access_used.get_or_insert(0);
            if let Some(pair) = drop.map(|id| self.pair_mut(id))
                && matches!(pair.refresh, Refresh::Used { .. })
            {
                pair.refresh = Refresh::Outlived;
            }
        }
        holds
    }

    /// Time passes.
    pub(super) fn tick(&mut self, rules: Rules) {
        for pair in self.pairs.iter_mut().flatten() {
            if let Refresh::Used { at, .. } = &mut pair.refresh {
                *at = rules.older(*at);
            }
            if rules.window_from_use {
                pair.access_used = pair.access_used.map(|age| rules.older(age));
            }
        }
    }
}

impl Pair {
    const NEW: Self = Self {
        refresh: Refresh::Live,
        access_used: None,
    };
}
