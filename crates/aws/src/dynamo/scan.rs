//! The whole table, one page after the other: for the operator who ends logins that no
//! index lists. No function may do this.

use super::DynamoStore;
use super::item::{self, ABSOLUTE_EXPIRES_AT, CLIENT, Item, NAMES, Named, PK, SK, STATE};
use crate::CallFailure;
use aws_sdk_dynamodb::types::AttributeValue;
use cloakroom_domain::family::{FamilyId, FamilyState, IndexKey};
use cloakroom_domain::ports::StoreError;
use cloakroom_domain::time::UnixTime;

/// A scan that has not reached the end.
#[derive(Debug)]
pub struct Scan<'a> {
    store: &'a DynamoStore,
    from: Option<Item>,
    over: bool,
}

/// What a scan meets.
#[derive(Debug)]
pub enum Seen {
    /// A family, as far as its item says anything without a token.
    Family {
        /// Which.
        id: FamilyId,
        /// Whether it was revoked or has ended; an item without a state that we know is not.
        over: bool,
        /// When it ends, if the item says. An item in which somebody has changed that opens
        /// for no token.
        expires_at: Option<UnixTime>,
        /// Its client; none if the item does not say.
        client: Option<String>,
        /// Whether its names were noted. Releases before 0.2 did not.
        named: bool,
        /// Under which of the names that were asked for it is ended.
        ends: bool,
    },
    /// A row that lists a family under its subject.
    Listed(FamilyId),
    /// Any other item, and one whose key names no family: no token leads there.
    Other,
}

impl DynamoStore {
    /// Reads the whole table, a page at a time.
    pub fn scan(&self) -> Scan<'_> {
        Scan {
            store: self,
            from: None,
            over: false,
        }
    }
}

impl Scan<'_> {
    /// The next page, and of its families which are ended by one of `names`; none after
    /// the last.
    ///
    /// # Errors
    ///
    /// Only if the store could not answer.
    pub async fn next(&mut self, names: &[IndexKey]) -> Result<Option<Vec<Seen>>, StoreError> {
        if self.over {
            return Ok(None);
        }
        let output = self
            .store
            .client
            .scan()
            .table_name(&self.store.table)
            .consistent_read(true)
            .projection_expression("#pk, #sk, #state, #end, #client, #names")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_names("#sk", SK)
            .expression_attribute_names("#state", STATE)
            .expression_attribute_names("#end", ABSOLUTE_EXPIRES_AT)
            .expression_attribute_names("#client", CLIENT)
            .expression_attribute_names("#names", NAMES)
            .set_exclusive_start_key(self.from.clone())
            .send()
            .await
            .map_err(|error| CallFailure::new("Scan", &error))?;
        let items = output.items.ok_or(StoreError::Malformed("Items"))?;
        self.from = output.last_evaluated_key.filter(|key| !key.is_empty());
        self.over = self.from.is_none();
        Ok(Some(items.iter().map(|item| see(item, names)).collect()))
    }
}

fn see(item: &Item, names: &[IndexKey]) -> Seen {
    let text = |name| item.get(name).and_then(|value| value.as_s().ok());
    let pk = text(PK).map_or("", String::as_str);
    if pk.starts_with("sub#") {
        return item::indexed_family(item).map_or(Seen::Other, Seen::Listed);
    }
    let Some(id) = pk.strip_prefix("f#").and_then(FamilyId::from_text) else {
        return Seen::Other;
    };
    let over = [FamilyState::Revoked, FamilyState::Ended].map(Named::name);
    let noted: &[AttributeValue] = item
        .get(NAMES)
        .and_then(|value| value.as_l().ok())
        .map_or(&[], Vec::as_slice);
    let is_noted = |name: &IndexKey| {
        let name = item::short_name(name);
        noted
            .iter()
            .any(|noted| noted.as_s().is_ok_and(|noted| noted == name))
    };
    Seen::Family {
        id,
        over: text(STATE).is_some_and(|state| over.contains(&state.as_str())),
        expires_at: item::time(item, ABSOLUTE_EXPIRES_AT).ok(),
        client: text(CLIENT).cloned(),
        named: !noted.is_empty(),
        ends: names.iter().any(is_noted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(more: &[(&str, AttributeValue)]) -> Item {
        let mut item = item::family_key(FamilyId([7; 16]));
        item.extend(
            more.iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone())),
        );
        item
    }

    #[test]
    fn a_family_is_seen_whatever_else_its_item_says() {
        let wanted = [IndexKey::Provider("a".repeat(43))];
        let other = [IndexKey::Provider("b".repeat(43))];
        let noted = (NAMES, item::short_names(&wanted));
        for (more, over, named, ends) in [
            (
                vec![(STATE, item::text("active")), noted.clone()],
                false,
                true,
                true,
            ),
            (
                vec![(STATE, item::text("revoked")), noted.clone()],
                true,
                true,
                true,
            ),
            (vec![(STATE, item::number(1)), noted], false, true, true),
            (vec![(NAMES, item::short_names(&other))], false, true, false),
            (vec![(NAMES, item::text("x"))], false, false, false),
            (vec![], false, false, false),
        ] {
            let seen = see(&family(&more), &wanted);
            let Seen::Family {
                over: o,
                named: n,
                ends: e,
                ..
            } = seen
            else {
                panic!("{seen:?}");
            };
            assert_eq!((o, n, e), (over, named, ends), "{more:?}");
        }
    }

    #[test]
    fn a_row_of_the_index_that_names_no_family_is_told_apart() {
        let row = |sk: &str| see(&item::key("sub#x", sk), &[]);
        let id = FamilyId([7; 16]);
        assert!(matches!(row(&format!("f#{}", id.to_text())), Seen::Listed(found) if found == id));
        assert!(matches!(row("f#odd"), Seen::Other));
        assert!(matches!(see(&item::key("f#odd", "f"), &[]), Seen::Other));
        assert!(matches!(
            see(&item::key("epoch", "epoch"), &[]),
            Seen::Other
        ));
    }
}
