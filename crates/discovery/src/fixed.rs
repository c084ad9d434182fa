//! `endpoints: […]`: who is there is what the document says, for as long as it says so.

use weir_config::endpoint::Endpoint;
use weir_config::position::Located;

use crate::watch::{self, Watch};

/// Shows the list once and ends.
pub(crate) fn watch(endpoints: &[Located<Endpoint>]) -> Watch {
    let (publisher, watch) = watch::channel("endpoints".to_owned());
    publisher.publish(
        endpoints
            .iter()
            .map(|located| located.value.clone())
            .collect(),
    );
    watch
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use weir_config::position::Position;

    use super::*;

    #[tokio::test]
    async fn shows_the_list_once() {
        let listed = |address: &str| Located {
            value: Endpoint::plain(address),
            at: Position::default(),
        };
        let mut watch = watch(&[listed("10.0.0.5:5000"), listed("10.0.0.6:5000")]);
        let members = watch.next().await.unwrap();
        assert_eq!(members[1], Endpoint::plain("10.0.0.6:5000"));
        assert!(watch.next().await.is_none());
        assert!(watch.status().last_error.is_none());
    }
}
