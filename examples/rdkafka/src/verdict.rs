//! What the errors of librdkafka mean: whether the record may be stored, and whether it is worth another attempt.

use forebay::core::{Advice, DropReason, Seen, Verdict};
use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    types::RDKafkaErrorCode as Code,
};

/// What a record's delivery report, or a refusal to queue it, says.
///
/// | error | may it be stored | another attempt |
/// | --- | --- | --- |
/// | too large, not a valid record | no | no: the record is dropped as rejected, or becomes a dead letter |
/// | the queue of librdkafka is full, purged before it was sent | no | yes |
/// | no such topic, no permission, too few replicas | no | yes: a fault of the set-up costs no record |
/// | `MessageTimedOut`, and every other one | perhaps | yes, and it may arrive twice |
///
/// With idempotence librdkafka itself sends a record again without doubling it, for as long as `message.timeout.ms`. When
/// that is over it forgets the record, and what is sent from then on is a new one to the broker.
#[must_use]
pub fn verdict(error: &KafkaError) -> Verdict {
    let (reason, seen, advice) = match error.rdkafka_error_code() {
        Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge) => {
            (DropReason::TooLarge, Seen::Yes, Advice::Never)
        }
        Some(
            Code::InvalidMessage
            | Code::InvalidRecord
            | Code::InvalidTimestamp
            | Code::UnsupportedForMessageFormat
            | Code::UnsupportedCompressionType,
        ) => (DropReason::Rejected, Seen::Yes, Advice::Never),
        Some(code) if is_never_stored(code) => (DropReason::RetriesExhausted, Seen::No, Advice::Retry),
        // CORRECTNESS: what is not known to be unsent counts as ambiguous, errors of later versions included.
        _ => (DropReason::RetriesExhausted, Seen::Maybe, Advice::Retry),
    };
    Verdict::new(reason, seen, advice).caused_by(error.clone())
}

fn is_never_stored(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        // Before it was sent.
        Code::QueueFull
            | Code::PurgeQueue
            | Code::UnknownTopic
            | Code::UnknownPartition
            // The broker refused it before it wrote anything.
            | Code::UnknownTopicOrPartition
            | Code::InvalidTopic
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::NotEnoughReplicas
            | Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::PolicyViolation
            | Code::ThrottlingQuotaExceeded
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_ambiguous_unless_it_says_that_nothing_was_stored() {
        for (code, seen, advice) in [
            (Code::MessageTimedOut, Seen::Maybe, Advice::Retry),
            (Code::PurgeInflight, Seen::Maybe, Advice::Retry),
            (Code::NotEnoughReplicasAfterAppend, Seen::Maybe, Advice::Retry),
            (Code::Fatal, Seen::Maybe, Advice::Retry),
            (Code::Unknown, Seen::Maybe, Advice::Retry),
            (Code::QueueFull, Seen::No, Advice::Retry),
            (Code::PurgeQueue, Seen::No, Advice::Retry),
            (Code::NotEnoughReplicas, Seen::No, Advice::Retry),
            (Code::TopicAuthorizationFailed, Seen::No, Advice::Retry),
            (Code::MessageSizeTooLarge, Seen::Yes, Advice::Never),
            (Code::InvalidRecord, Seen::Yes, Advice::Never),
        ] {
            let verdict = verdict(&KafkaError::MessageProduction(code));
            assert_eq!((verdict.seen(), verdict.advice()), (seen, advice), "{code}");
        }
        assert_eq!(verdict(&KafkaError::Canceled).seen(), Seen::Maybe);
    }
}
