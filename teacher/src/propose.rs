//! The job "proposals": K self-edits for each context, written by the backend in one batch.
//!
//! **Invariant:** an order is fixed by policy, context, stage, proposal number and run seed; the
//! batch it is part of changes nothing.
//! **Invariant:** a context or reply that yields no edit is an outcome of its own and stops no other.

use seal_protocol::{
    Digest, EditOrigin, Envelope, Micro, ProposalMethod, Proposals, ProposeRequest, SelfEdit,
    Subject, UnparsedReply,
};
use seal_trust::{digest_of, sha256};

use crate::backends::{Order, Outcome, Sampling, Written};
use crate::edits::Reply;
use crate::error::TeacherError;
use crate::family::EditBody;
use crate::prompt::PromptError;
use crate::seeds::proposal_seed;
use crate::teacher::{Report, Teacher};

/// Family name of edits that no policy wrote.
const CONTEXT_ONLY: &str = "context-only";

/// One proposal to be made.
struct Slot {
    context: Digest,
    proposal: u32,
    order: Result<Order, PromptError>,
}

impl Teacher {
    /// Writes the proposals of a request, in the order (context as asked, proposal number).
    ///
    /// # Errors
    /// An unknown context or policy, a request beyond the limits, a failure of storage or arithmetic.
    pub fn propose(
        &mut self,
        request: &ProposeRequest,
        report: Report<'_>,
    ) -> Result<Proposals, TeacherError> {
        self.check_request(request)?;
        let policy = self.policy_digest(request.policy_digest)?;
        match &request.method {
            ProposalMethod::ContextOnly => self.propose_contexts(request, policy, report),
            ProposalMethod::Policy { temperature_micro, forced_prefix } => {
                let model = self.model_of(&policy)?;
                let sampling = Sampling { policy, model, temperature: *temperature_micro };
                self.propose_sampled(request, &sampling, forced_prefix, report)
            }
        }
    }

    fn check_request(&self, request: &ProposeRequest) -> Result<(), TeacherError> {
        let most = self.config.sampling.max_proposals_per_context;
        if !(1..=most).contains(&request.proposals_per_context) {
            return Err(TeacherError::Request(format!(
                "{} proposals per context were asked for; 1 to {most} are allowed",
                request.proposals_per_context
            )));
        }
        request.context_digests.iter().try_for_each(|digest| self.context(digest).map(drop))
    }

    /// The untrained baseline: an edit whose only sequence is the context.
    fn propose_contexts(
        &self,
        request: &ProposeRequest,
        policy: Digest,
        report: Report<'_>,
    ) -> Result<Proposals, TeacherError> {
        let origin = EditOrigin {
            writer: self.config.writer.clone(),
            policy_digest: policy,
            prompt_family: CONTEXT_ONLY.to_owned(),
            prompt_digest: sha256(b""),
            temperature_micro: Micro(0),
            seed: 0,
            reply_schema: None,
        };
        let mut edits = Vec::new();
        for context in &request.context_digests {
            for proposal in 0..request.proposals_per_context {
                let body = self.asking.context_alone(self.context(context)?);
                edits.push(self.publish(edit(*context, proposal, body, origin.clone()), None)?);
            }
        }
        report(edits.len() as u64, edits.len() as u64);
        Ok(Proposals { edits, unparsed: Vec::new() })
    }

    fn propose_sampled(
        &mut self,
        request: &ProposeRequest,
        sampling: &Sampling,
        forced: &[String],
        report: Report<'_>,
    ) -> Result<Proposals, TeacherError> {
        let slots = self.slots(request, sampling, forced)?;
        let orders: Vec<Order> =
            slots.iter().filter_map(|slot| slot.order.as_ref().ok().cloned()).collect();
        let mut outcomes = self.backend.write(&orders, sampling, report)?.into_iter();
        let mut proposals = Proposals { edits: Vec::new(), unparsed: Vec::new() };
        for slot in &slots {
            let outcome = match &slot.order {
                Err(refusal) => Err(refusal.to_string()),
                Ok(order) => match outcomes.next() {
                    Some(Outcome::Written(reply)) => {
                        self.read_reply(request, order, reply, sampling)?
                    }
                    Some(Outcome::Missed(reason)) => Err(reason),
                    None => Err("the backend gave no answer to this order".to_owned()),
                },
            };
            match outcome {
                Ok(edit) => proposals.edits.push(edit),
                Err(reason) => proposals.unparsed.push(UnparsedReply {
                    context_digest: slot.context,
                    proposal: slot.proposal,
                    reason,
                }),
            }
        }
        Ok(proposals)
    }

    fn slots(
        &self,
        request: &ProposeRequest,
        sampling: &Sampling,
        forced: &[String],
    ) -> Result<Vec<Slot>, TeacherError> {
        let known = self.exemplars(&sampling.policy)?;
        let mut slots = Vec::new();
        for digest in &request.context_digests {
            let context = self.context(digest)?;
            let shown = self.shown(digest, context, &known);
            let prompt = self.asking.prompt(context, forced, &shown);
            for proposal in 0..request.proposals_per_context {
                let order = prompt.clone().map(|(prompt, prompt_digest)| Order {
                    prompt,
                    prompt_digest,
                    context_digest: *digest,
                    context_id: context.id.clone(),
                    proposal,
                    seed: proposal_seed(request.seed, &request.stage, digest, proposal),
                });
                slots.push(Slot { context: *digest, proposal, order });
            }
        }
        Ok(slots)
    }

    /// A signed edit, or why the reply yields none; either way the reply is kept.
    fn read_reply(
        &self,
        request: &ProposeRequest,
        order: &Order,
        reply: Written,
        sampling: &Sampling,
    ) -> Result<Result<Envelope, String>, TeacherError> {
        let context = self.context(&order.context_digest)?;
        let read = self.asking.read(context, order.proposal, &reply);
        let kept = Reply {
            stage: request.stage.clone(),
            context_digest: order.context_digest,
            proposal: order.proposal,
            unparsed: read.as_ref().err().cloned(),
            text: reply.text,
            tokens: reply.tokens,
        };
        let body = match read {
            Ok(body) => body,
            Err(reason) => {
                self.edits.put_unparsed(&kept)?;
                return Ok(Err(reason));
            }
        };
        let origin = EditOrigin {
            writer: self.config.writer.clone(),
            policy_digest: sampling.policy,
            prompt_family: self.asking.name().to_owned(),
            prompt_digest: reply.prompt_digest,
            temperature_micro: sampling.temperature,
            seed: order.seed,
            reply_schema: reply.schema,
        };
        let edit = edit(order.context_digest, order.proposal, body, origin);
        Ok(Ok(self.publish(edit, Some(&kept))?))
    }

    /// Signs and keeps an edit.
    fn publish(&self, edit: SelfEdit, reply: Option<&Reply>) -> Result<Envelope, TeacherError> {
        let digest = digest_of(&edit)?;
        let (envelope, _) = self.sign(Subject::new("self-edit", digest), edit)?;
        self.edits.put(&digest, &envelope, reply)?;
        Ok(envelope)
    }
}

fn edit(context_digest: Digest, proposal: u32, body: EditBody, origin: EditOrigin) -> SelfEdit {
    let EditBody { examples, directives, rationale } = body;
    SelfEdit { context_digest, proposal, examples, directives, rationale, origin }
}
