"""Rating examples of five open-source billing systems, and how each system's models are ours.

`cases.json` holds facts: the numbers of examples in the test suites of Lago, OpenMeter, Flexprice, Kill Bill and CGRateS
(and one from an issue of LiteLLM), each with where it stands. `charges` and `trials` say once, by model and definition,
which card and which usage of ours an example means; `engine` rates it.
"""
