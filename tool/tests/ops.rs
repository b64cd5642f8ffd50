//! Every operator, bit for bit: the networks of one operator in `data/ops`, with the outputs
//! of TFLite's reference kernels, under plans for one core, for teams, and at random.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use pipeit_rt::kernels;
use pipeit_rt::model::Port;
use pipeit_tool::arrays::{Array, Elements, dequantize, from_unsigned, quantize};
use pipeit_tool::graph::{Element, Graph, Quantization, Tensor, TensorIndex};
use pipeit_tool::interpreter::Interpreter;
use pipeit_tool::noise::Noise;
use pipeit_tool::pack::pack;
use pipeit_tool::partition::PartitionError;
use pipeit_tool::planning::Planner;
use pipeit_tool::trials::{Trial, Trials};
use pipeit_tool::{import, lower};

mod support;

use support::{cpus, run};

/// Cases that are refused, and why they may be.
const OUTSIDE: [(&str, &str); 1] =
    [("strided_slice/int8_new_axis_rank_5", "a tensor of five dimensions")];

/// The arrays of a case: `in_K_J` and `ref_K_J` for input or output `J` of frame `K`.
struct Vectors(zip::ZipArchive<Cursor<Vec<u8>>>);

impl Vectors {
    fn open(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(zip::ZipArchive::new(Cursor::new(bytes)).expect("an npz file"))
    }

    fn array(&mut self, key: &str) -> Option<Elements> {
        let mut bytes = Vec::new();
        let mut file = self.0.by_name(&format!("{key}.npy")).ok()?;
        file.read_to_end(&mut bytes).expect("an array");
        Some(Array::read(&bytes).unwrap_or_else(|error| panic!("{key}: {error}")).elements)
    }

    /// The inputs of frame `frame` as codes; `None` when there is no such frame.
    fn inputs(&mut self, frame: usize, ports: &[Port]) -> Option<Vec<Vec<i8>>> {
        let codes = |(at, port): (usize, &Port)| {
            Some(match self.array(&format!("in_{frame}_{at}"))? {
                Elements::I8(codes) => codes,
                Elements::U8(codes) => codes.into_iter().map(from_unsigned).collect(),
                Elements::F32(reals) => reals.iter().map(|&real| quantize(real, port)).collect(),
            })
        };
        ports.iter().enumerate().map(codes).collect()
    }

    /// How `found`, all outputs one after another, differs from those of frame `frame`.
    fn difference(&mut self, frame: usize, ports: &[Port], found: &[i8]) -> Option<String> {
        let mut found = found.iter().copied();
        let (mut all, mut differ) = (0, 0);
        for (at, port) in ports.iter().enumerate() {
            let key = format!("ref_{frame}_{at}");
            let Some(expected) = self.array(&key) else {
                return Some(format!("{key} is missing"));
            };
            let equal: Vec<bool> = match expected {
                Elements::I8(codes) => {
                    codes.into_iter().map(|code| found.next() == Some(code)).collect()
                }
                Elements::U8(codes) => codes
                    .into_iter()
                    .map(|code| found.next() == Some(from_unsigned(code)))
                    .collect(),
                Elements::F32(reals) => reals
                    .into_iter()
                    .map(|real| found.next().map(|code| dequantize(code, port)) == Some(real))
                    .collect(),
            };
            all += equal.len();
            differ += equal.iter().filter(|&&equal| !equal).count();
        }
        let rest = found.count();
        (differ + rest > 0).then(|| format!("{differ} of {all} codes differ, {rest} too many"))
    }
}

/// The plans a case is run under: fewer where every core is emulated.
fn plans(trials: &Trials<'_>, noise: &mut Noise) -> Result<Vec<Trial>, PartitionError> {
    let mut plans = vec![trials.team(1)?, trials.team(3)?];
    if std::env::var_os("PIPEIT_EMULATED").is_none() {
        plans.extend([trials.team(2)?, trials.random(noise)?, trials.random(noise)?]);
    }
    Ok(plans)
}

/// Runs the case of a `.tflite` file under all plans; says what is wrong, and counts the plans.
fn compare(case: &Path, noise: &mut Noise) -> Result<usize, String> {
    let bytes = fs::read(case).map_err(|error| error.to_string())?;
    let graph = import::tflite(&bytes).map_err(|error| format!("refused: {error}"))?;
    let network = lower::lower(&graph).map_err(|error| format!("refused: {error}"))?;
    let model = network.check().map_err(|error| format!("refused: {error}"))?;
    let mut vectors = Vectors::open(&case.with_extension("npz"));
    let frames: Vec<_> = (0..).map_while(|k| vectors.inputs(k, model.inputs)).collect();
    if frames.is_empty() {
        return Err("no vectors".to_owned());
    }
    let mut count = 0;
    for kernels in kernels::ALL.iter().filter(|kernels| (kernels.supported)()) {
        let packed = pack(&network, &[kernels.path.into()]).map_err(|error| error.to_string())?;
        let model = packed.check().map_err(|error| format!("{}: {error}", kernels.path))?;
        let planner = Planner::new(&model, kernels.path);
        let trials = Trials { planner: &planner, cpus: &cpus() };
        let plans = plans(&trials, noise).map_err(|error| error.to_string())?;
        for trial in &plans {
            for (frame, found) in run(&model, trial, &frames).iter().enumerate() {
                if let Some(difference) = vectors.difference(frame, model.outputs, found) {
                    return Err(format!("frame {frame} under {trial:?}: {difference}"));
                }
            }
        }
        count += plans.len();
    }
    // Every layout, by portable kernels that read them all.
    for path in kernels::Path::ALL {
        let packed = pack(&network, &[path.into()]).map_err(|error| error.to_string())?;
        let model = packed.check().map_err(|error| format!("{path}: {error}"))?;
        let interpreter = Interpreter::new(&model);
        for (number, frame) in frames.iter().enumerate() {
            let found = interpreter.run(frame).concat();
            if let Some(difference) = vectors.difference(number, model.outputs, &found) {
                return Err(format!("frame {number} packed for {path}: {difference}"));
            }
        }
    }
    Ok(count)
}

fn entries(directory: &Path) -> BTreeSet<std::path::PathBuf> {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

/// The cases of each operator: their names and files.
fn cases() -> Vec<(String, Vec<(String, PathBuf)>)> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/ops");
    let name = |path: &Path| {
        let name = path.with_extension("");
        let name = name.strip_prefix(&data).expect("a path in there");
        name.to_str().expect("a name in ASCII").replace('\\', "/")
    };
    let operators = entries(&data).into_iter().filter(|path| path.is_dir());
    let operators = operators.map(|operator| {
        let files = entries(&operator).into_iter();
        let files = files.filter(|path| path.extension().is_some_and(|e| e == "tflite"));
        (name(&operator), files.map(|path| (name(&path), path)).collect())
    });
    operators.collect()
}

#[test]
fn every_operator_equals_the_reference_kernels() {
    let mut noise = Noise::new(1);
    let (mut compared, mut plans) = (0, BTreeSet::new());
    let mut wrong = Vec::new();
    let operators = cases();
    for (operator, cases) in &operators {
        let mut equal = 0;
        for (name, case) in cases {
            let outside = OUTSIDE.iter().any(|&(outside, _)| outside == name);
            match compare(case, &mut noise) {
                Ok(_) if outside => wrong.push(format!("{name}: listed as outside, but equal")),
                Ok(count) => {
                    equal += 1;
                    plans.insert(count);
                }
                Err(reason) if outside && reason.starts_with("refused") => {}
                Err(reason) => wrong.push(format!("{name}: {reason}")),
            }
        }
        println!("{operator}: {equal} of {} cases equal", cases.len());
        compared += equal;
    }
    let plans: Vec<_> = plans.into_iter().map(|count| count.to_string()).collect();
    let plans = plans.join(" or ");
    println!("{compared} cases of {} operators, {plans} plans each", operators.len());
    for (name, reason) in OUTSIDE {
        println!("outside: {name}: {reason}");
    }
    assert!(wrong.is_empty(), "{} cases are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared > 600, "{compared} cases");
}

/// Makes the inputs of a network constants, with the first frame's content.
fn with_constants(mut graph: Graph, vectors: &mut Vectors) -> Graph {
    for (at, &input) in graph.inputs.iter().enumerate() {
        let data: Vec<u8> = match vectors.array(&format!("in_0_{at}")).expect("an input") {
            Elements::I8(codes) => codes.into_iter().map(i8::cast_unsigned).collect(),
            Elements::U8(codes) => codes,
            Elements::F32(reals) => reals.into_iter().flat_map(f32::to_le_bytes).collect(),
        };
        graph.tensors[input.0].data = Some(data.into());
    }
    // A network has an input, if only to pass it on.
    graph.inputs = vec![TensorIndex(graph.tensors.len())];
    graph.tensors.push(Tensor {
        name: "unread".to_owned(),
        shape: vec![1],
        element: Element::I8,
        quantization: Some(Quantization::per_tensor(1.0, 0)),
        data: None,
    });
    graph
}

#[test]
fn every_operator_on_constants_is_computed_at_import() {
    let mut wrong = Vec::new();
    let mut folded = 0;
    for (name, case) in cases().into_iter().flat_map(|(_, cases)| cases) {
        if OUTSIDE.iter().any(|&(outside, _)| outside == name) {
            continue;
        }
        let mut vectors = Vectors::open(&case.with_extension("npz"));
        let graph = import::tflite(&fs::read(&case).expect("a file")).expect("a network");
        let graph = with_constants(graph, &mut vectors);
        let network = lower::lower(&graph).unwrap_or_else(|error| panic!("{name}: {error}"));
        let model = network.check().expect("a network");
        let outputs = Interpreter::new(&model).run::<Vec<i8>>(&[]);
        wrong.extend(vectors.difference(0, model.outputs, &outputs.concat()));
        let is_constant = |op: &kernels::Op| matches!(op, kernels::Op::Constant(_));
        assert!(model.ops.iter().all(is_constant), "{name}: {:?}", model.ops);
        folded += network.folded.len();
    }
    assert!(wrong.is_empty(), "{} cases are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(folded > 600, "{folded} operators");
}
