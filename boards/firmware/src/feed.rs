//! Feeds the pipeline on a core that computes as well: first the self-test, then the frames.

use pipeit_rt::artefact::{Artefact, Checksum};
use pipeit_rt::pipeline::{CallError, InputFrame, OutputFrame, StageStats};
use pipeit_rt::platform::{Platform, Ticks};
use pipeit_rt::{Admission, Pipeline, Wait};

use crate::MAX_STAGES;
use crate::arguments::Arguments;
use crate::exit::Failure;
use crate::machine::Machine;
use crate::source::Source;

/// How long the feeder may sleep while frames are under way.
const LOOK_HZ: u64 = 1000;

/// Golden vectors, then the frames of a source, through a pipeline.
pub(crate) struct Feed<'p> {
    pipeline: &'p Pipeline<'static, Machine>,
    artefact: &'p Artefact<'static>,
    source: &'p mut dyn Source,
    goldens: u32,
    frames: u32,
    sent: u32,
    received: u32,
    outputs: Checksum,
    before_stream: [StageStats; MAX_STAGES],
    failure: Option<Failure>,
}

impl<'p> Feed<'p> {
    pub(crate) fn new(
        pipeline: &'p Pipeline<'static, Machine>,
        artefact: &'p Artefact<'static>,
        source: &'p mut dyn Source,
        arguments: &Arguments,
    ) -> Self {
        Self {
            pipeline,
            artefact,
            source,
            goldens: artefact.goldens.iter().count() as u32,
            frames: arguments.frames,
            sent: 0,
            received: 0,
            outputs: Checksum::new(),
            before_stream: [StageStats::default(); MAX_STAGES],
            failure: None,
        }
    }

    /// Sends and receives what can be at once; says until when to wait with the next step. At
    /// the end, or at a failure, stops the pipeline.
    pub(crate) fn step(&mut self) -> Ticks {
        while !self.is_over() {
            match self.advance() {
                Ok(true) => {}
                Ok(false) => break,
                Err(failure) => self.failure = Some(failure),
            }
        }
        if self.is_over() {
            self.pipeline.stop();
        }
        Machine::now().after(Ticks(Machine::tick_hz() / LOOK_HZ))
    }

    /// Whether there is nothing left to do.
    pub(crate) fn is_over(&self) -> bool {
        self.failure.is_some() || self.received == self.goldens.saturating_add(self.frames)
    }

    /// What has gone wrong.
    pub(crate) const fn failure(&self) -> Option<Failure> {
        self.failure
    }

    /// Checksum of all outputs of the stream, in order.
    pub(crate) fn hash(&self) -> u32 {
        self.outputs.clone().finish()
    }

    /// What stage `stage` did for the stream, the self-test left out.
    pub(crate) fn stats(&self, stage: usize) -> Option<StageStats> {
        let StageStats { frames, busy, starved } = self.pipeline.stats(stage)?;
        let before = self.before_stream.get(stage).copied().unwrap_or_default();
        Some(StageStats {
            frames: frames.wrapping_sub(before.frames),
            busy: busy.since(before.busy),
            starved: starved.since(before.starved),
        })
    }

    /// One frame in or out; false when neither is possible now.
    fn advance(&mut self) -> Result<bool, Failure> {
        let received = match self.pipeline.poll(Wait::Never) {
            Ok(frame) => {
                self.receive(&frame)?;
                true
            }
            Err(CallError::TimedOut) => false,
            Err(error) => return Err(error.into()),
        };
        // The stream begins when the self-test is through.
        let self_test = self.received < self.goldens;
        let end = if self_test { self.goldens } else { self.goldens.saturating_add(self.frames) };
        if self.sent == end {
            return Ok(received);
        }
        match self.pipeline.acquire(Admission::Block(Wait::Never)) {
            Ok(frame) => self.send(frame).map(|()| true),
            Err(CallError::TimedOut) => Ok(received),
            Err(error) => Err(error.into()),
        }
    }

    fn send(&mut self, mut frame: InputFrame<'_, 'static, Machine>) -> Result<(), Failure> {
        if self.sent < self.goldens {
            let golden = self.artefact.goldens.frame(self.sent as usize);
            let mut rest = golden.map_or(&[][..], |(inputs, _)| inputs);
            for input in 0.. {
                let Some(codes) = frame.input(input) else { break };
                let own = rest.split_off(..codes.len()).unwrap_or_default();
                codes.iter_mut().zip(own).for_each(|(code, &byte)| *code = byte as i8);
            }
        } else {
            for input in 0.. {
                let Some(codes) = frame.input(input) else { break };
                self.source.fill(self.artefact.model, input, codes);
            }
        }
        frame.submit()?;
        self.sent += 1;
        Ok(())
    }

    fn receive(&mut self, frame: &OutputFrame<'_, 'static, Machine>) -> Result<(), Failure> {
        let due = self.received;
        if frame.id().0 != due {
            return Err(Failure::Lost { frame: due, found: frame.id() });
        }
        self.received += 1;
        if due < self.goldens {
            let golden = self.artefact.goldens.frame(due as usize);
            let mut rest = golden.map_or(&[][..], |(_, outputs)| outputs);
            for (output, codes) in (0..).map_while(|i| Some((i, frame.output(i)?))) {
                let expected = rest.split_off(..codes.len()).unwrap_or_default();
                if !codes.iter().map(|&code| code as u8).eq(expected.iter().copied()) {
                    return Err(Failure::SelfTest { frame: due, output });
                }
            }
        } else {
            for codes in (0..).map_while(|output| frame.output(output)) {
                hash(&mut self.outputs, codes);
            }
        }
        if self.received == self.goldens {
            for (stage, before) in self.before_stream.iter_mut().enumerate() {
                *before = self.pipeline.stats(stage).unwrap_or_default();
            }
        }
        Ok(())
    }
}

fn hash(checksum: &mut Checksum, codes: &[i8]) {
    for chunk in codes.chunks(64) {
        let mut bytes = [0; 64];
        bytes.iter_mut().zip(chunk).for_each(|(byte, &code)| *byte = code as u8);
        checksum.update(bytes.get(..chunk.len()).unwrap_or_default());
    }
}
