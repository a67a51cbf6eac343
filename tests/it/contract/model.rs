//! [`Transition::apply`] is the law; a store must do the same, whatever the
//! transition and whatever it meets.

use super::World;
use super::records::{entry, seal, token};
use super::store::{created, found};
use cloakroom_domain::family::{
    Change, Condition, FamilyRecord, FamilyState, TokenState, Transition,
};
use cloakroom_domain::ports::{UpdateError, UpdateFamily};
use cloakroom_domain::time::UnixTime;
use cloakroom_domain::token::{TokenDigest, TokenKind};

/// How many families are led through how many transitions.
const LIVES: u64 = 12;
const STEPS: u64 = 16;

/// Names that an expression or a path must not take for its own.
const AUDIENCES: [&str; 4] = ["orders", "https://a.example/b.c", "#n0 :v0", "Ünï[0]"];

pub(super) async fn a_store_does_what_apply_says(world: &World) {
    let store = world.store();
    let (mut done, mut refused) = (0, 0);
    for seed in 0..LIVES {
        let mut dice = Dice(seed);
        let mut model = created(&store).await;
        for step in 0..STEPS {
            let transition = dice.transition(&model);
            let before = model.clone();
            let expected = transition.apply(&mut model);
            match store.update_family(&transition).await {
                Ok(()) => {
                    assert!(expected, "life {seed}, step {step}: {transition:#?}");
                    done += 1;
                }
                Err(UpdateError::Refused(Some(old))) => {
                    assert!(!expected, "life {seed}, step {step}: {transition:#?}");
                    assert_eq!(*old, before, "life {seed}, step {step}");
                    refused += 1;
                }
                Err(other) => panic!("life {seed}, step {step}: {other:?} {transition:#?}"),
            }
            let stored = found(&store, &model.id).await;
            assert_eq!(
                stored.as_ref(),
                Some(&model),
                "life {seed}, step {step}: {transition:#?}"
            );
        }
    }
    assert!(done > 30 && refused > 30, "{done} done, {refused} refused");
}

/// Chance that repeats itself: splitmix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }

    fn transition(&mut self, record: &FamilyRecord) -> Transition {
        let conditions = (0..self.roll(3)).map(|_| self.condition(record)).collect();
        let changes = (0..self.roll(6)).map(|_| self.change()).collect();
        Transition {
            family: record.id,
            conditions,
            changes,
        }
    }

    /// Mostly one that holds.
    fn condition(&mut self, record: &FamilyRecord) -> Condition {
        let lie = self.roll(4) == 0;
        let token = self.token();
        match self.roll(7) {
            0 if !lie => Condition::State(record.state),
            0 => Condition::State(self.state()),
            1 => Condition::Generation(record.generation + u64::from(lie)),
            2 => {
                let state = record.tokens.get(&token).map(|entry| entry.state);
                Condition::Token(token, state.filter(|_| !lie).unwrap_or(TokenState::Live))
            }
            3 => Condition::TokenExists(token),
            4 => Condition::ClaimsVersion(record.claims_version + u64::from(lie)),
            5 => Condition::LeaseFree(UnixTime(1_000 + self.roll(1_000))),
            _ => Condition::FewerTokens(record.tokens.len() + usize::from(!lie)),
        }
    }

    fn change(&mut self) -> Change {
        let token = self.token();
        let at = UnixTime(1_000 + self.roll(1_000));
        match self.roll(14) {
            // Rare: hardly anything happens to a family afterwards.
            0 => Change::State(self.state()),
            1 => Change::Generation(self.roll(4)),
            2 | 3 => Change::AddToken(token, Box::new(entry(TokenKind::Refresh))),
            4 => Change::RemoveToken(token),
            5 => Change::Redeem {
                token,
                at,
                successor: Some(self.seal()),
            },
            6 => Change::Redeem {
                token,
                at,
                successor: None,
            },
            7 => Change::DropSuccessor(token),
            8 => Change::FirstUse(token, at),
            9 => Change::Slide {
                token,
                until: at,
                meta: self.seal(),
            },
            10 => Change::Claims {
                grant: self.seal(),
                version: self.roll(4),
            },
            11 => Change::Lease((self.roll(2) == 0).then_some(at)),
            12 => {
                let spent = (0..self.roll(4)).map(|_| self.token());
                Change::Spent(spent.collect())
            }
            _ => Change::Jwt {
                token,
                audience: self.audience(),
                jwt: self.seal(),
            },
        }
    }

    /// Few, so that changes meet.
    fn token(&mut self) -> TokenDigest {
        token(u8::try_from(1 + self.roll(4)).unwrap())
    }

    fn state(&mut self) -> FamilyState {
        [
            FamilyState::Active,
            FamilyState::Revoked,
            FamilyState::Ended,
        ][usize::try_from(self.roll(3)).unwrap()]
    }

    fn audience(&mut self) -> String {
        AUDIENCES[usize::try_from(self.roll(4)).unwrap()].into()
    }

    fn seal(&mut self) -> cloakroom_domain::seal::Sealed {
        seal(&self.roll(1_000_000).to_string())
    }
}
