"""The stream: Faust agents that meter, deduplicate, fold and rate. The only package that knows Faust."""
