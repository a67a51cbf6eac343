//! What the ports promise, held against real wire protocols.
//!
//! One list of laws, two worlds: the embedded DynamoDB and KMS endpoint that local
//! mode uses, and `moto`, which nobody here wrote. The laws know nothing of where
//! they run. Concurrency is tested on the embedded world alone: moto is not
//! atomic, and is asked one thing at a time.

mod answers;
mod faults;
mod keys;
mod lies;
mod model;
pub(crate) mod moto;
mod parallel;
mod records;
mod store;
mod world;

use world::World;

/// Runs each law as a test of its own in the embedded world, and all of them one
/// after the other on moto.
macro_rules! laws {
    ($($module:ident: $($law:ident)+;)+) => {
        mod embedded {
            $($(
                #[tokio::test]
                async fn $law() {
                    super::$module::$law(&super::World::embedded().await).await;
                }
            )+)+
        }

        #[tokio::test]
        async fn the_laws_hold_on_moto() {
            let server = moto::Server::start().await;
            $($(
                println!("{}", stringify!($law));
                $module::$law(&World::at(&server.url, &server.url, world::MOTO).await).await;
            )+)+
        }
    };
}

laws! {
    store:
        a_family_is_found_as_it_was_written
        a_family_is_created_once
        each_condition_is_held
        an_update_never_creates
        a_change_of_an_absent_token_is_no_change
        a_name_is_used_once
        the_epoch_only_rises
        a_subjects_families_are_listed
        a_tombstone_stops_an_older_login
        a_login_before_the_tombstone_is_listed_for_it
        the_later_tombstone_wins
        tombstones_say_what_was_written_and_what_is_odd_is_no_answer
        a_row_that_names_no_family_hides_no_other
        a_family_is_ended_unread
        a_malformed_item_is_said_to_be_that
        a_table_is_made_once;
    model:
        a_store_does_what_apply_says;
    keys:
        signatures_verify_with_the_published_key
        a_key_of_another_kind_signs_nothing
        half_a_key_set_is_none
        a_mac_key_is_always_the_same_root;
}
