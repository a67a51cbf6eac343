//! A transition as one UpdateItem.
//!
//! DynamoDB refuses an update of which two paths overlap, and takes them in no
//! order. So changes are first folded, in their order, into what becomes of each
//! attribute and each token; then every path is written at most once.

use super::expression::Placeholders;
use super::item::{
    self, CLAIMS, CLAIMS_VERSION, GENERATION, IDLE_EXPIRES_AT, JWTS, LEASE_UNTIL, META, Named, PK,
    REDEEMED_AT, SPENT, STATE, SUCCESSOR, TOKENS, USED_AT,
};
use aws_sdk_dynamodb::types::AttributeValue;
use cloakroom_domain::family::{
    Change, Condition, FamilyRecord, FamilyState, TokenEntry, TokenState, Transition,
};
use cloakroom_domain::seal::Sealed;
use cloakroom_domain::time::UnixTime;
use cloakroom_domain::token::TokenDigest;
use std::collections::{BTreeMap, HashMap};

/// What a transition comes to.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    conditions: &'a [Condition],
    state: Option<FamilyState>,
    generation: Option<u64>,
    idle_expires_at: Option<UnixTime>,
    spent: Option<&'a [TokenDigest]>,
    claims: Option<(&'a Sealed, u64)>,
    lease: Option<Lease>,
    tokens: BTreeMap<TokenDigest, TokenPlan>,
}

/// What becomes of a token.
#[derive(Debug)]
enum TokenPlan {
    Put(Box<TokenEntry>),
    Remove,
    Patch(Patch),
}

/// What becomes of an entry that stays.
#[derive(Debug, Default)]
struct Patch {
    redeemed: Option<UnixTime>,
    successor: Option<Successor>,
    first_use: Option<UnixTime>,
    meta: Option<Sealed>,
    jwts: BTreeMap<String, Sealed>,
}

/// What becomes of the lease.
#[derive(Debug)]
enum Lease {
    Until(UnixTime),
    Free,
}

/// What becomes of the pair that a token was redeemed for.
#[derive(Debug)]
enum Successor {
    Keep(Sealed),
    Drop,
}

/// As it goes into the request.
pub(super) struct Update {
    pub(super) condition: String,
    pub(super) change: String,
    pub(super) names: HashMap<String, String>,
    pub(super) values: Option<HashMap<String, AttributeValue>>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(transition: &'a Transition) -> Self {
        let mut plan = Self {
            conditions: &transition.conditions,
            state: None,
            generation: None,
            idle_expires_at: None,
            spent: None,
            claims: None,
            lease: None,
            tokens: BTreeMap::new(),
        };
        for change in &transition.changes {
            plan.add(change);
        }
        plan
    }

    fn add(&mut self, change: &'a Change) {
        match change {
            Change::State(state) => self.state = Some(*state),
            Change::Generation(generation) => self.generation = Some(*generation),
            Change::Spent(spent) => self.spent = Some(spent),
            Change::Claims { grant, version } => self.claims = Some((grant, *version)),
            Change::Lease(until) => {
                self.lease = Some(until.map_or(Lease::Free, Lease::Until));
            }
            Change::AddToken(token, entry) => {
                self.tokens.insert(*token, TokenPlan::Put(entry.clone()));
            }
            Change::RemoveToken(token) => {
                self.tokens.insert(*token, TokenPlan::Remove);
            }
            Change::Redeem {
                token,
                at,
                successor,
            } => self.patch(*token, |patch| {
                patch.redeemed = Some(*at);
                patch.successor = Some(successor.clone().map_or(Successor::Drop, Successor::Keep));
            }),
            Change::DropSuccessor(token) => {
                self.patch(*token, |patch| patch.successor = Some(Successor::Drop));
            }
            Change::FirstUse(token, at) => self.patch(*token, |patch| {
                patch.first_use.get_or_insert(*at);
            }),
            Change::Jwt {
                token,
                audience,
                jwt,
            } => self.patch(*token, |patch| {
                patch.jwts.insert(audience.clone(), jwt.clone());
            }),
            Change::Slide { token, until, meta } => {
                self.idle_expires_at = Some(*until);
                self.patch(*token, |patch| patch.meta = Some(meta.clone()));
            }
        }
    }

    /// Changes a token as far as this transition leaves one.
    fn patch(&mut self, token: TokenDigest, change: impl FnOnce(&mut Patch)) {
        let plan = self.tokens.entry(token);
        match plan.or_insert_with(|| TokenPlan::Patch(Patch::default())) {
            TokenPlan::Patch(patch) => change(patch),
            TokenPlan::Put(entry) => {
                let mut patch = Patch::default();
                change(&mut patch);
                patch.apply(entry);
            }
            TokenPlan::Remove => {}
        }
    }

    /// Drops what was to become of entries that `record` does not have. Whether
    /// there was any.
    pub(super) fn forget_absent(&mut self, record: &FamilyRecord) -> bool {
        let before = self.tokens.len();
        self.tokens.retain(|token, plan| {
            !matches!(plan, TokenPlan::Patch(_)) || record.tokens.contains_key(token)
        });
        self.tokens.len() < before
    }

    pub(super) fn render(&self) -> Update {
        let mut placeholders = Placeholders::default();
        let condition = self.condition(&mut placeholders);
        let change = self.change(&mut placeholders);
        let (names, values) = placeholders.finish();
        Update {
            condition,
            change,
            names,
            values,
        }
    }

    fn condition(&self, placeholders: &mut Placeholders) -> String {
        // An update never creates.
        let mut all = vec![format!("attribute_exists({})", placeholders.path(&[PK]))];
        for condition in self.conditions {
            all.push(match condition {
                Condition::State(state) => placeholders.equals(&[STATE], item::text(state.name())),
                Condition::Generation(generation) => {
                    placeholders.equals(&[GENERATION], item::number(*generation))
                }
                Condition::Token(token, state) => placeholders
                    .equals(&[TOKENS, &token.to_text(), STATE], item::text(state.name())),
                Condition::TokenExists(token) => placeholders.exists(*token),
                Condition::FewerTokens(limit) => {
                    let tokens = placeholders.path(&[TOKENS]);
                    let limit = u64::try_from(*limit).unwrap_or(u64::MAX);
                    let limit = placeholders.value(item::number(limit));
                    format!("size({tokens}) < {limit}")
                }
                Condition::ClaimsVersion(version) => {
                    placeholders.equals(&[CLAIMS_VERSION], item::number(*version))
                }
                Condition::LeaseFree(now) => {
                    let lease = placeholders.path(&[LEASE_UNTIL]);
                    let now = placeholders.value(item::number(now.0));
                    format!("(attribute_not_exists({lease}) OR {lease} <= {now})")
                }
            });
        }
        // A path below an entry that is not there would make the request invalid.
        for (token, plan) in &self.tokens {
            if matches!(plan, TokenPlan::Patch(_)) && !self.demands(*token) {
                all.push(placeholders.exists(*token));
            }
        }
        all.join(" AND ")
    }

    fn demands(&self, token: TokenDigest) -> bool {
        self.conditions.iter().any(|condition| match condition {
            Condition::Token(each, _) | Condition::TokenExists(each) => *each == token,
            Condition::State(_)
            | Condition::Generation(_)
            | Condition::FewerTokens(_)
            | Condition::ClaimsVersion(_)
            | Condition::LeaseFree(_) => false,
        })
    }

    fn change(&self, placeholders: &mut Placeholders) -> String {
        let mut clauses = Clauses {
            placeholders,
            set: Vec::new(),
            remove: Vec::new(),
        };
        if let Some(state) = self.state {
            clauses.set(&[STATE], item::text(state.name()));
        }
        if let Some(generation) = self.generation {
            clauses.set(&[GENERATION], item::number(generation));
        }
        if let Some(until) = self.idle_expires_at {
            clauses.set(&[IDLE_EXPIRES_AT], item::number(until.0));
        }
        if let Some((grant, version)) = self.claims {
            clauses.set(&[CLAIMS], item::sealed(grant));
            clauses.set(&[CLAIMS_VERSION], item::number(version));
        }
        match self.lease {
            Some(Lease::Until(until)) => clauses.set(&[LEASE_UNTIL], item::number(until.0)),
            Some(Lease::Free) => clauses.remove(&[LEASE_UNTIL]),
            None => {}
        }
        if let Some(spent) = self.spent {
            clauses.set(&[SPENT], item::digests(spent));
        }
        for (token, plan) in &self.tokens {
            let token = token.to_text();
            match plan {
                TokenPlan::Put(entry) => clauses.set(&[TOKENS, &token], item::write_token(entry)),
                TokenPlan::Remove => clauses.remove(&[TOKENS, &token]),
                TokenPlan::Patch(patch) => patch.render(&token, &mut clauses),
            }
        }
        clauses.finish()
    }
}

impl Patch {
    fn apply(self, entry: &mut TokenEntry) {
        if let Some(at) = self.redeemed {
            entry.state = TokenState::Used;
            entry.redeemed_at = Some(at);
        }
        match self.successor {
            Some(Successor::Keep(pair)) => entry.successor = Some(pair),
            Some(Successor::Drop) => entry.successor = None,
            None => {}
        }
        if let Some(at) = self.first_use {
            entry.used_at.get_or_insert(at);
        }
        if let Some(meta) = self.meta {
            entry.meta = meta;
        }
        entry.jwts.extend(self.jwts);
    }

    fn render(&self, token: &str, clauses: &mut Clauses<'_>) {
        if let Some(at) = self.redeemed {
            clauses.set(&[TOKENS, token, STATE], item::text(TokenState::Used.name()));
            clauses.set(&[TOKENS, token, REDEEMED_AT], item::number(at.0));
        }
        match &self.successor {
            Some(Successor::Keep(pair)) => {
                clauses.set(&[TOKENS, token, SUCCESSOR], item::sealed(pair));
            }
            Some(Successor::Drop) => clauses.remove(&[TOKENS, token, SUCCESSOR]),
            None => {}
        }
        if let Some(at) = self.first_use {
            clauses.set_if_absent(&[TOKENS, token, USED_AT], item::number(at.0));
        }
        if let Some(meta) = &self.meta {
            clauses.set(&[TOKENS, token, META], item::sealed(meta));
        }
        for (audience, jwt) in &self.jwts {
            clauses.set(&[TOKENS, token, JWTS, audience], item::sealed(jwt));
        }
    }
}

/// The two halves of an update expression.
struct Clauses<'a> {
    placeholders: &'a mut Placeholders,
    set: Vec<String>,
    remove: Vec<String>,
}

impl Clauses<'_> {
    fn set(&mut self, path: &[&str], value: AttributeValue) {
        self.set.push(self.placeholders.equals(path, value));
    }

    fn set_if_absent(&mut self, path: &[&str], value: AttributeValue) {
        let path = self.placeholders.path(path);
        let value = self.placeholders.value(value);
        self.set
            .push(format!("{path} = if_not_exists({path}, {value})"));
    }

    fn remove(&mut self, path: &[&str]) {
        self.remove.push(self.placeholders.path(path));
    }

    fn finish(mut self) -> String {
        if self.set.is_empty() && self.remove.is_empty() {
            // Only conditions. AWS takes an update without an expression; not
            // every DynamoDB does.
            let state = self.placeholders.path(&[STATE]);
            self.set.push(format!("{state} = {state}"));
        }
        let halves = [("SET ", self.set), ("REMOVE ", self.remove)];
        let halves: Vec<_> = halves
            .into_iter()
            .filter(|(_, clauses)| !clauses.is_empty())
            .map(|(verb, clauses)| verb.to_owned() + &clauses.join(", "))
            .collect();
        halves.join(" ")
    }
}

impl Placeholders {
    /// `path = value`: a condition, and also what SET says.
    fn equals(&mut self, path: &[&str], value: AttributeValue) -> String {
        let path = self.path(path);
        let value = self.value(value);
        format!("{path} = {value}")
    }

    fn exists(&mut self, token: TokenDigest) -> String {
        format!(
            "attribute_exists({})",
            self.path(&[TOKENS, &token.to_text()])
        )
    }
}

#[cfg(test)]
mod tests;
