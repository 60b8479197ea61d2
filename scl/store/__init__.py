"""The store of a study: every number of every trial, in Parquet, on a disk or in an object store.

    OUT/STUDY/study.json            the plan, the command that ran it, the data
              declared.json         what `--declare` wrote before the first trial, with its hash
              trials.parquet        a row per trial
              epochs.parquet        a row per trial and epoch
              predictions.parquet   a row per trial: the predicted class of each test image
              pictures.parquet      small pictures of a few test images, for the page
              parts/                ended trials that are not yet in the three tables
              copies/               the three tables again, in case one is damaged; see `editions`
              checkpoints/          the networks of completed trials, and the last epochs of those that train
              damaged/              damaged files, set aside and listed on the page

A worker writes one part when a trial ends: one row, with the trial's epochs and predictions nested in it, so that a
trial is there completely or not at all. `tables.compact` moves parts into the tables; `results.load` reads both.
Every file has a checksum, which is verified on every read. Readers change nothing and name what they cannot use;
`tables.mend` and `tables.compact`, for the lock's holder, move damaged files aside.
"""
