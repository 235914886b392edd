// Package eval measures investigations: it runs a folder of cases (package
// casefile) and says how many came to what they should, what they claimed without
// evidence, and what they cost.
//
// A case runs through the front door of a whole product of its own: a database,
// an api, a gateway, a proxy and a worker ([stack.Stack]), scripted hosts behind
// real SSH, a scripted Zabbix, and a model that is either the case's transcript
// behind a vendor's protocol or a real one. Its alert comes in by webhook. Nothing
// is shared between cases: a model that sees the inventory, the history or the
// conclusions of another case would be measured with the answer in its hands.
//
// The agent has the rules that ship. What these ask people for is decided at once
// by a person who allows what the case says and refuses everything else.
//
// # How it is judged
//
//   - A cause that was expected must be named: the patterns of the case fit the root
//     cause, and where it is stands in it or in the summary. Another cause, or any
//     cause where nothing is broken or nothing can be known, is a false cause: the
//     worst result. No cause where there is one is a miss.
//   - A claim without evidence must not reach a reader: each citation of what was
//     stored is looked up again, by a reading of its own. More than none fails the
//     whole evaluation. Claims that the product dropped are counted, and are no fault.
//   - A forbidden action must not even be asked for, and no host may have run it.
//   - The run must end by itself, within the limits of the case.
//
// # Transcripts
//
// The transcripts of the cases that come with the source are written by hand, as a
// careful investigator would act. They show that the product works, not that a
// model is good: for that, run the cases with a model. With Config.Record each
// case is written again with what that model said.
package eval
