//! Feeds pipelines on a core that computes as well: first the self-test, then the frames.

use pipeit_board::println;
use pipeit_rt::artefact::{Artefact, Checksum};
use pipeit_rt::live::{Slowness, Watch};
use pipeit_rt::pipeline::{CallError, InputFrame, OutputFrame, StageStats};
use pipeit_rt::platform::baremetal::WfeEvent;
use pipeit_rt::platform::{Event, Platform, Ticks};
use pipeit_rt::topology::{CoreId, Topology};
use pipeit_rt::{Admission, Pipeline, Plan, Wait};

use crate::MAX_STAGES;
use crate::arguments::Arguments;
use crate::exit::Failure;
use crate::machine::{Machine, ticks};
use crate::source::Source;

/// How long the feeder may sleep while frames are under way.
const LOOK_HZ: u64 = 1000;

/// Golden vectors, then the frames of a source, through one pipeline after the other.
pub(crate) struct Feed<'p> {
    artefact: &'p Artefact<'static>,
    topology: &'p Topology,
    source: &'p mut dyn Source,
    goldens: u32,
    frames: u32,
    sent: u32,
    received: u32,
    outputs: Checksum,
    /// Frames that went through the pipelines before.
    before: u32,
    /// What the stages did before they got frames of the source.
    before_stream: [StageStats; MAX_STAGES],
    /// Looks for slow clusters, if plans may change.
    watch: Option<Watch>,
    /// The plan to go on with, and why.
    change: Option<(&'static Plan<'static>, Slowness)>,
    failure: Option<Failure>,
}

impl<'p> Feed<'p> {
    pub(crate) fn new(
        artefact: &'p Artefact<'static>,
        topology: &'p Topology,
        source: &'p mut dyn Source,
        arguments: &Arguments,
    ) -> Self {
        let is_live = arguments.live_ms > 0;
        Self {
            artefact,
            topology,
            source,
            goldens: artefact.goldens.iter().count() as u32,
            frames: arguments.frames,
            sent: 0,
            received: 0,
            outputs: Checksum::new(),
            before: 0,
            before_stream: [StageStats::default(); MAX_STAGES],
            watch: is_live.then(|| Watch::new(ticks(arguments.live_ms))),
            change: None,
            failure: None,
        }
    }

    /// Feeds `pipeline` on this core, which the pipeline knows by the number `own` unless it has
    /// no work for it, until all frames are through or the plan is to change.
    pub(crate) fn run(
        &mut self,
        pipeline: &Pipeline<'_, Machine>,
        own: Option<CoreId>,
    ) -> Result<(), Failure> {
        self.before = self.received;
        self.before_stream = [StageStats::default(); MAX_STAGES];
        self.change = None;
        if let Some(own) = own {
            pipeline.run_core_beside(own, || self.step(pipeline))?;
        }
        // Where the plan has no work for this core, it only feeds.
        let event = WfeEvent::new();
        while !self.is_over() {
            let next = self.step(pipeline);
            event.wait(event.count(), || Some(next));
        }
        self.failure.map_or(Ok(()), Err)
    }

    /// Sends and receives what can be at once; says until when to wait with the next step. At
    /// the end, or at a failure, stops the pipeline.
    fn step(&mut self, pipeline: &Pipeline<'_, Machine>) -> Ticks {
        while !self.is_over() {
            match self.advance(pipeline) {
                Ok(true) => {}
                Ok(false) => break,
                Err(failure) => self.failure = Some(failure),
            }
        }
        if self.is_over() {
            pipeline.stop();
        }
        Machine::now().after(Ticks(Machine::tick_hz() / LOOK_HZ))
    }

    /// Whether there is nothing left to do for this pipeline.
    fn is_over(&self) -> bool {
        let all = self.goldens.saturating_add(self.frames);
        let end = if self.change.is_some() { self.sent } else { all };
        self.failure.is_some() || self.received == end
    }

    /// The plan to go on with, and why.
    pub(crate) const fn change(&self) -> Option<(&'static Plan<'static>, Slowness)> {
        self.change
    }

    /// Checksum of all outputs of the stream, in order.
    pub(crate) fn hash(&self) -> u32 {
        self.outputs.clone().finish()
    }

    /// What stage `stage` of `pipeline` did for the stream, the self-test left out.
    pub(crate) fn stats(
        &self,
        pipeline: &Pipeline<'_, Machine>,
        stage: usize,
    ) -> Option<StageStats> {
        let StageStats { frames, busy, starved, late } = pipeline.stats(stage)?;
        let before = self.before_stream.get(stage).copied().unwrap_or_default();
        Some(StageStats {
            frames: frames.wrapping_sub(before.frames),
            busy: busy.since(before.busy),
            starved: starved.since(before.starved),
            late: late.since(before.late),
        })
    }

    /// One frame in or out; false when neither is possible now.
    fn advance(&mut self, pipeline: &Pipeline<'_, Machine>) -> Result<bool, Failure> {
        let received = match pipeline.poll(Wait::Never) {
            Ok(frame) => {
                self.receive(pipeline, &frame)?;
                true
            }
            Err(CallError::TimedOut) => false,
            Err(error) => return Err(error.into()),
        };
        // The stream begins when the self-test is through.
        let self_test = self.received < self.goldens;
        let end = if self_test { self.goldens } else { self.goldens.saturating_add(self.frames) };
        if self.sent == end || self.change.is_some() {
            return Ok(received);
        }
        match pipeline.acquire(Admission::Block(Wait::Never)) {
            Ok(frame) => self.send(frame).map(|()| true),
            Err(CallError::TimedOut) => Ok(received),
            Err(error) => Err(error.into()),
        }
    }

    fn send(&mut self, mut frame: InputFrame<'_, '_, Machine>) -> Result<(), Failure> {
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

    fn receive(
        &mut self,
        pipeline: &Pipeline<'_, Machine>,
        frame: &OutputFrame<'_, '_, Machine>,
    ) -> Result<(), Failure> {
        let due = self.received;
        if frame.id().0 != due - self.before {
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
            println!("self-test: ok");
            for (stage, before) in self.before_stream.iter_mut().enumerate() {
                *before = pipeline.stats(stage).unwrap_or_default();
            }
        } else if self.received > self.goldens && self.change.is_none() {
            self.change = self.look(pipeline);
        }
        Ok(())
    }

    /// The plan that is better than that at work, now that some clusters are slower than it
    /// expects.
    fn look(
        &mut self,
        pipeline: &Pipeline<'_, Machine>,
    ) -> Option<(&'static Plan<'static>, Slowness)> {
        let slowness = self.watch.as_mut()?.look(pipeline)?;
        let plans = self.artefact.plans;
        Some((slowness.better_plan(plans, self.topology, pipeline.plan())?, slowness))
    }
}

fn hash(checksum: &mut Checksum, codes: &[i8]) {
    for chunk in codes.chunks(64) {
        let mut bytes = [0; 64];
        bytes.iter_mut().zip(chunk).for_each(|(byte, &code)| *byte = code as u8);
        checksum.update(bytes.get(..chunk.len()).unwrap_or_default());
    }
}
