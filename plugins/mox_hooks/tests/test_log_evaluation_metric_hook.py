"""`LogEvaluationMetricHook`: the schedule and the line of the manual's chapter 4.5.2, and means worked out by hand."""
