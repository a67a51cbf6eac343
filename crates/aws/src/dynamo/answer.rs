//! What an answer must be, beyond what the SDK looks at.
//!
//! The SDK takes an empty body for an empty object and passes over members that it does
//! not know, and makes of both "there is no such item". An answer that cannot be read
//! must never become a "no" (D90).

use aws_sdk_dynamodb::operation::get_item::GetItemOutput;
use aws_sdk_dynamodb::operation::put_item::PutItemOutput;
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::operation::scan::ScanOutput;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsOutput;
use aws_sdk_dynamodb::operation::update_item::UpdateItemOutput;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    AfterDeserializationInterceptorContextRef, Output,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use cloakroom_jose::json::{Document, Value};

/// Refuses answers that are not what the API says.
#[derive(Debug)]
pub(super) struct WholeAnswers;

impl Intercept for WholeAnswers {
    fn name(&self) -> &'static str {
        "WholeAnswers"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Ok(output) = context.output_or_error() else {
            return Ok(());
        };
        let body = context.response().body().bytes().unwrap_or_default();
        if is_whole(output, body) {
            Ok(())
        } else {
            Err("the answer is not one of this operation".into())
        }
    }
}

fn is_whole(output: &Output, body: &[u8]) -> bool {
    if let Some(got) = output.downcast_ref::<GetItemOutput>() {
        // Whether it is the item that was asked for is seen by its key.
        return got.item.is_some() || has_only(body, &["ConsumedCapacity"]);
    }
    let lists = output.downcast_ref::<QueryOutput>().is_some()
        || output.downcast_ref::<ScanOutput>().is_some();
    if lists {
        return is_page(body);
    }
    let is_write = output.downcast_ref::<PutItemOutput>().is_some()
        || output.downcast_ref::<UpdateItemOutput>().is_some()
        || output.downcast_ref::<TransactWriteItemsOutput>().is_some();
    !is_write
        || has_only(
            body,
            &["Attributes", "ConsumedCapacity", "ItemCollectionMetrics"],
        )
}

/// Whether it is an object without other members than these.
fn has_only(body: &[u8], members: &[&str]) -> bool {
    let document = Document::read(body).ok();
    let object = document.as_ref().and_then(|body| body.root().as_object());
    object.is_some_and(|mut object| object.all(|(name, _)| members.contains(&name.as_ref())))
}

/// A page says what it holds, and how much that is.
fn is_page(body: &[u8]) -> bool {
    let Ok(document) = Document::read(body) else {
        return false;
    };
    let Some(page) = document.root().as_object() else {
        return false;
    };
    let items = page.get("Items").and_then(Value::as_array);
    let count = page.get("Count").and_then(Value::as_number);
    items.is_some_and(|items| count == Some(items.count().to_string().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d90_only_an_empty_object_says_that_there_is_no_item() {
        let nothing = Output::erase(GetItemOutput::builder().build());
        for whole in ["{}", " { } ", r#"{"ConsumedCapacity":{"TableName":"t"}}"#] {
            assert!(is_whole(&nothing, whole.as_bytes()), "{whole}");
        }
        for unreadable in [
            "",
            "null",
            "[]",
            "{",
            "{}{}",
            r#"{"Item":null}"#,
            r#"{"Items":[]}"#,
            r#"{"message":"later"}"#,
            "<html></html>",
        ] {
            assert!(!is_whole(&nothing, unreadable.as_bytes()), "{unreadable}");
        }
        assert!(!is_whole(&nothing, b"\xff"));
    }

    #[test]
    fn d90_a_page_without_its_items_is_no_empty_page() {
        let page = Output::erase(QueryOutput::builder().build());
        assert!(is_whole(&page, br#"{"Items":[],"Count":0}"#));
        assert!(is_whole(
            &page,
            br#"{"Items":[{}],"Count":1,"ScannedCount":1}"#
        ));
        for unreadable in [
            "",
            "{}",
            "null",
            r#"{"Count":0}"#,
            r#"{"Items":null,"Count":0}"#,
            r#"{"Items":[],"Count":1}"#,
            r#"{"Items":[{}],"Count":0}"#,
        ] {
            assert!(!is_whole(&page, unreadable.as_bytes()), "{unreadable}");
        }
    }

    #[test]
    fn d90_a_write_is_done_when_the_answer_says_so() {
        let outputs = [
            Output::erase(PutItemOutput::builder().build()),
            Output::erase(UpdateItemOutput::builder().build()),
            Output::erase(TransactWriteItemsOutput::builder().build()),
        ];
        for output in outputs {
            assert!(is_whole(&output, b"{}"));
            for unreadable in ["", "null", "[]", r#"{"message":"later"}"#] {
                assert!(!is_whole(&output, unreadable.as_bytes()), "{unreadable}");
            }
        }
    }
}
