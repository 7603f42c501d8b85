//! The job "proposals": K self-edits for each context, sampled in one batch.
//!
//! **Invariant:** a proposal is fixed by policy, context, stage, proposal number and run seed; the
//! batch it was drawn in changes nothing.
//! **Invariant:** a context or reply that yields no edit is an outcome of its own and stops no other.

use seal_model::{Prompt, SamplingConfig, generate};
use seal_protocol::{
    Digest, Directives, EditOrigin, Envelope, LossPart, Micro, ProposalMethod, Proposals,
    ProposeRequest, SelfEdit, Subject, TrainingExample, UnparsedReply,
};
use seal_trust::{digest_of, sha256};

use crate::edits::Reply;
use crate::error::TeacherError;
use crate::prompt::{PromptError, WrittenPrompt};
use crate::reply::ParsedReply;
use crate::seeds::proposal_seed;
use crate::teacher::{Report, Teacher};

/// Family name of edits that no policy wrote.
const CONTEXT_ONLY: &str = "context-only";

/// One proposal to be made.
struct Slot {
    context: Digest,
    proposal: u32,
    seed: u64,
    prompt: Result<WrittenPrompt, PromptError>,
}

/// How the policy samples.
struct Sampling<'a> {
    policy: Digest,
    temperature: Micro,
    forced: &'a [String],
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
                let sampling =
                    Sampling { policy, temperature: *temperature_micro, forced: forced_prefix };
                self.propose_sampled(request, &sampling, report)
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
        };
        let mut edits = Vec::new();
        for context in &request.context_digests {
            for proposal in 0..request.proposals_per_context {
                let edit = self.edit(context, proposal, ParsedReply::default(), origin.clone())?;
                edits.push(self.publish(edit, None)?);
            }
        }
        report(edits.len() as u64, edits.len() as u64);
        Ok(Proposals { edits, unparsed: Vec::new() })
    }

    fn propose_sampled(
        &mut self,
        request: &ProposeRequest,
        sampling: &Sampling<'_>,
        report: Report<'_>,
    ) -> Result<Proposals, TeacherError> {
        let slots = self.slots(request, sampling)?;
        let mut replies = self.sample(&slots, sampling, report)?.into_iter();
        let mut proposals = Proposals { edits: Vec::new(), unparsed: Vec::new() };
        for slot in &slots {
            let outcome = match &slot.prompt {
                Err(refusal) => Err(refusal.to_string()),
                Ok(prompt) => {
                    let sampled = replies.next().unwrap_or_default();
                    let reply = [&prompt.forced[..], &sampled].concat();
                    self.read_reply(request, slot, prompt, &reply, sampling)?
                }
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
        sampling: &Sampling<'_>,
    ) -> Result<Vec<Slot>, TeacherError> {
        let mut slots = Vec::new();
        for digest in &request.context_digests {
            let prompt = self.prompter.write(&self.context(digest)?.text, sampling.forced);
            for proposal in 0..request.proposals_per_context {
                slots.push(Slot {
                    context: *digest,
                    proposal,
                    seed: proposal_seed(request.seed, &request.stage, digest, proposal),
                    prompt: prompt.clone(),
                });
            }
        }
        Ok(slots)
    }

    /// One reply for each slot that has a prompt, in order.
    fn sample(
        &mut self,
        slots: &[Slot],
        sampling: &Sampling<'_>,
        report: Report<'_>,
    ) -> Result<Vec<Vec<u32>>, TeacherError> {
        let policy = self.policies.get(sampling.policy)?;
        let settings = SamplingConfig {
            max_new_tokens: self.config.sampling.max_new_tokens,
            temperature: sampling.temperature.to_f64(),
            stop: vec![self.prompter.end()],
            ..SamplingConfig::default()
        };
        let prompt = |slot: &Slot| {
            let prompt = slot.prompt.as_ref().ok()?;
            Some(Prompt { adapter: None, tokens: prompt.tokens.clone(), seed: slot.seed })
        };
        let prompts: Vec<Prompt> = slots.iter().filter_map(prompt).collect();
        let total = prompts.len() as u64;
        let mut replies = Vec::new();
        for batch in prompts.chunks(self.config.sampling.batch.max(1)) {
            let before = replies.len() as u64;
            let mut inside = |done: u64, of: u64| {
                report(before + done * batch.len() as u64 / of.max(1), total);
            };
            let texts = generate(&policy, &[], batch, &settings, &mut inside)?;
            replies.extend(texts.into_iter().map(|text| text.tokens));
        }
        Ok(replies)
    }

    /// A signed edit, or why the reply yields none.
    fn read_reply(
        &self,
        request: &ProposeRequest,
        slot: &Slot,
        prompt: &WrittenPrompt,
        reply: &[u32],
        sampling: &Sampling<'_>,
    ) -> Result<Result<Envelope, String>, TeacherError> {
        let mut kept = Reply {
            stage: request.stage.clone(),
            context_digest: slot.context,
            proposal: slot.proposal,
            unparsed: None,
            text: self.prompter.text(reply),
            tokens: reply.to_vec(),
        };
        let parsed = match self.prompter.parse(reply) {
            Ok(parsed) => parsed,
            Err(reason) => {
                kept.unparsed = Some(reason.to_string());
                self.edits.put_unparsed(&kept)?;
                return Ok(Err(reason.to_string()));
            }
        };
        let origin = EditOrigin {
            writer: self.config.writer.clone(),
            policy_digest: sampling.policy,
            prompt_family: self.prompter.family().to_owned(),
            prompt_digest: prompt.digest,
            temperature_micro: sampling.temperature,
            seed: slot.seed,
        };
        let edit = self.edit(&slot.context, slot.proposal, parsed, origin)?;
        Ok(Ok(self.publish(edit, Some(&kept))?))
    }

    /// The lines as edit sequences, the context as one sequence of its own.
    fn edit(
        &self,
        context: &Digest,
        proposal: u32,
        parsed: ParsedReply,
        origin: EditOrigin,
    ) -> Result<SelfEdit, TeacherError> {
        let lines = parsed.lines.into_iter().map(|text| (text, LossPart::Edit));
        let passage = (self.context(context)?.text.clone(), LossPart::Context);
        let examples = lines.chain([passage]);
        Ok(SelfEdit {
            context_digest: *context,
            proposal,
            examples: examples.map(|(text, part)| TrainingExample::Text { text, part }).collect(),
            directives: Directives { labels: parsed.labels, ..Directives::default() },
            rationale: String::new(),
            origin,
        })
    }

    /// Signs and keeps an edit.
    fn publish(&self, edit: SelfEdit, reply: Option<&Reply>) -> Result<Envelope, TeacherError> {
        let digest = digest_of(&edit)?;
        let (envelope, _) = self.sign(Subject::new("self-edit", digest), edit)?;
        self.edits.put(&digest, &envelope, reply)?;
        Ok(envelope)
    }
}
