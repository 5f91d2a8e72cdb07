module imserver/bench/loadgen

go 1.19
