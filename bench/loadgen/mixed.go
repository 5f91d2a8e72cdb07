package main

import "fmt"

// runMixed is a fleet at work: Groups of Members robots; each robot tells its group a value, Signals a second
// in all, of which only the latest counts, while commands go to the groups at Rate, durable and answered.
func runMixed(task *Task, dialect Dialect) (*Findings, error) {
	plan := &Plan{Owner: "owner", Window: task.Window}
	for number := 0; number < task.Groups; number++ {
		group := GroupPlan{Name: fmt.Sprintf("group%d", number), Senders: []string{fmt.Sprintf("s%d", number%task.Senders)}}
		telling := GroupPlan{Name: group.Name, Signals: true}
		for member := 0; member < task.Members; member++ {
			robot := number*task.Members + member
			group.Readers = append(group.Readers, fmt.Sprintf("r%d", robot))
			telling.Senders = append(telling.Senders, fmt.Sprintf("t%d", robot))
		}
		telling.Readers = group.Readers
		plan.Groups = append(plan.Groups, group, telling)
	}
	fleet, err := buildFleet(task, dialect, plan)
	if err != nil {
		return nil, err
	}
	defer fleet.Close()
	return fleet.atTwoRates(task)
}

// atTwoRates has signals and commands fall due side by side.
func (f *Fleet) atTwoRates(task *Task) (*Findings, error) {
	signals, commands := []*Lane{}, []*Lane{}
	for _, lane := range f.Lanes {
		if lane.signal {
			signals = append(signals, lane)
		} else {
			commands = append(commands, lane)
		}
	}
	found, err := f.atRates(task, pace{signals, task.Signals}, pace{commands, task.Rate})
	if err != nil {
		return nil, err
	}
	for _, lane := range signals {
		found.Counts["signals_skipped"] += float64(lane.skipped)
	}
	return found, nil
}
